"""Tokens of an identity provider, whose keys are served over real HTTP."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from pydantic import ValidationError
from sqlalchemy import Engine

from gateway.access.tokens import ProviderKeys
from shared.errors import TransientFault
from shared.settings import Settings
from shared.storage import ObjectStore
from tests.gateway.access.conftest import KeyMaker, send_as
from tests.gateway.access.provider import AUDIENCE, IdentityProvider, running_provider
from tests.gateway.conftest import ZIP, RunningGateway, running_gateway


@pytest.fixture(scope="module")
def provider() -> Iterator[IdentityProvider]:
    with running_provider() as running:
        yield running


@pytest.fixture(scope="module")
def trusting(
    guarded_settings: Settings, provider: IdentityProvider, engine: Engine, store: ObjectStore
) -> Iterator[RunningGateway]:
    named = {"oidc_issuer": provider.issuer, "oidc_audience": AUDIENCE}
    with running_gateway(guarded_settings.model_copy(update=named)) as running:
        yield running


class TestAToken:
    def test_brings_its_tenant_and_its_scopes(self, trusting: RunningGateway, provider: IdentityProvider) -> None:
        token = provider.sign()
        job = send_as(trusting, token, "POST", "/v1/jobs", content=ZIP)
        assert job.status_code == 202
        place = f"/v1/jobs/{job.json()['id']}"
        assert send_as(trusting, token, "GET", place).status_code == 200
        assert send_as(trusting, provider.sign(tenant="ward-u"), "GET", place).status_code == 404
        refused = send_as(trusting, token, "GET", "/v1/webhooks")
        assert (refused.status_code, refused.json()["scope"]) == (403, "webhooks")

    def test_may_list_its_scopes(self, trusting: RunningGateway, provider: IdentityProvider) -> None:
        assert send_as(trusting, provider.sign(scope=["webhooks"]), "GET", "/v1/webhooks").status_code == 200

    @pytest.mark.parametrize(
        "claims",
        [
            {"exp": int(time.time()) - 60},
            {"exp": None},
            {"aud": "another-service"},
            {"aud": None},
            {"iss": "https://id.example.org"},
            {"sub": None},
            {"sub": "two\nlines"},
            {"tenant": None},
            {"tenant": "Ward T"},
            {"tenant": 7},
            {"nbf": int(time.time()) + 86_400},  # a day: the test may run long after it was collected
        ],
        ids=", ".join,  # the times differ between the processes that collect tests
    )
    def test_with_a_wrong_claim_is_refused(
        self, trusting: RunningGateway, provider: IdentityProvider, claims: dict[str, Any]
    ) -> None:
        answer = send_as(trusting, provider.sign(**claims), "GET", "/v1/jobs")
        assert (answer.status_code, answer.json()["code"]) == (401, "credentials_invalid")

    def test_that_another_signed_is_refused(self, trusting: RunningGateway, provider: IdentityProvider) -> None:
        claims = jwt.decode(provider.sign(), options={"verify_signature": False})
        key_id = provider.describe_keys()["keys"][0]["kid"]
        forged = jwt.encode(claims, generate_private_key(65537, 2048), algorithm="RS256", headers={"kid": key_id})
        assert send_as(trusting, forged, "GET", "/v1/jobs").status_code == 401

    def test_without_signature_or_with_a_shared_secret_is_refused(
        self, trusting: RunningGateway, provider: IdentityProvider
    ) -> None:
        claims = jwt.decode(provider.sign(), options={"verify_signature": False})
        headers = {"kid": provider.describe_keys()["keys"][0]["kid"]}
        unsigned = jwt.encode(claims, "", algorithm="none", headers=headers)
        shared = jwt.encode(claims, provider.describe_keys()["keys"][0]["n"], algorithm="HS256", headers=headers)
        for token in (unsigned, shared, provider.sign(algorithm="RS512")):
            assert send_as(trusting, token, "GET", "/v1/jobs").status_code == 401

    def test_of_an_unknown_key_makes_the_provider_be_asked_only_now_and_then(
        self, trusting: RunningGateway, provider: IdentityProvider
    ) -> None:
        assert send_as(trusting, provider.sign(), "GET", "/v1/jobs").status_code == 200
        asked = provider.asked_for_keys
        for number in range(5):
            stranger = provider.sign(headers={"kid": f"unknown-{number}"})
            assert send_as(trusting, stranger, "GET", "/v1/jobs").status_code == 401
        assert provider.asked_for_keys <= asked + 1

    def test_leaves_keys_as_they_are(self, trusting: RunningGateway, key_of: KeyMaker) -> None:
        assert send_as(trusting, key_of(), "GET", "/v1/jobs").status_code == 200


class TestClaims:
    def test_may_be_named_otherwise_and_lie_deeper(
        self, guarded_settings: Settings, provider: IdentityProvider, engine: Engine, store: ObjectStore
    ) -> None:
        named = {
            "oidc_issuer": provider.issuer,
            "oidc_audience": AUDIENCE,
            "oidc_jwks_url": f"{provider.issuer}/keys",
            "oidc_tenant_claim": "organisation",
            "oidc_scope_claim": "resource_access.ctclip.roles",
        }
        roles = {"ctclip": {"roles": ["jobs:read"]}}
        token = provider.sign(tenant=None, organisation="ward-t", scope=None, resource_access=roles)
        with running_gateway(guarded_settings.model_copy(update=named)) as gateway:
            assert send_as(gateway, token, "GET", "/v1/jobs").status_code == 200
            assert send_as(gateway, token, "POST", "/v1/jobs", content=ZIP).status_code == 403


class TestAProvider:
    def test_that_changes_its_key_is_asked_again_after_a_while(self) -> None:
        now = [0.0]
        with running_provider() as provider:
            keys = ProviderKeys(provider.issuer, None, clock=lambda: now[0])

            def knows(token: str) -> bool:
                return asyncio.run(keys.find(jwt.get_unverified_header(token)["kid"])) is not None

            assert knows(provider.sign())
            provider.rotate()
            assert not knows(provider.sign())
            now[0] += 31
            assert knows(provider.sign())
            assert provider.asked_for_keys == 2

    def test_that_falls_silent_is_trusted_for_the_keys_it_gave(self) -> None:
        now = [0.0]
        with running_provider() as provider:
            keys = ProviderKeys(provider.issuer, None, clock=lambda: now[0])
            key_id = provider.describe_keys()["keys"][0]["kid"]
            assert asyncio.run(keys.find(key_id)) is not None
        now[0] += 3600
        assert asyncio.run(keys.find(key_id)) is not None

    @pytest.mark.parametrize("url", ["http://id.example.org/keys", "file:///etc/keys", "//", "http://["])
    def test_that_publishes_its_keys_where_others_could_change_them_is_not_trusted(self, url: str) -> None:
        with running_provider() as provider:
            provider.jwks_url = url
            with pytest.raises(TransientFault, match="ValueError"):
                asyncio.run(ProviderKeys(provider.issuer, None).find("key"))

    def test_that_gives_no_keys_is_not_asked_for_each_of_many_tokens(self) -> None:
        now = [0.0]
        with running_provider() as provider:
            provider.jwks_url = "http://id.example.org/keys"
            keys = ProviderKeys(provider.issuer, None, clock=lambda: now[0])

            def is_refused() -> bool:
                with pytest.raises(TransientFault):
                    asyncio.run(keys.find("key"))
                return True

            assert all(is_refused() for _ in range(5))
            assert provider.asked == 1
            now[0] += 1
            assert is_refused()
            assert provider.asked == 2

    def test_that_does_not_answer_is_told_as_a_fault(
        self, guarded_settings: Settings, provider: IdentityProvider, engine: Engine, store: ObjectStore
    ) -> None:
        named = {"oidc_issuer": "http://127.0.0.1:1", "oidc_audience": AUDIENCE}
        with running_gateway(guarded_settings.model_copy(update=named)) as gateway:
            answer = send_as(gateway, provider.sign(), "GET", "/v1/jobs")
        assert (answer.status_code, answer.json()["code"]) == (503, "identity_provider_unavailable")
        assert answer.headers["Retry-After"] == "5"


class TestSettings:
    @pytest.mark.parametrize(
        "named",
        [
            {"oidc_issuer": "https://id.example.org"},
            {"oidc_issuer": "http://id.example.org", "oidc_audience": AUDIENCE},
            {"oidc_algorithms": "HS256"},
            {"oidc_algorithms": "none"},
            {"authentication": "perhaps"},
        ],
        ids=str,
    )
    def test_that_would_trust_anybody_are_refused(self, settings: Settings, named: dict[str, str]) -> None:
        with pytest.raises(ValidationError):
            Settings.model_validate({**settings.model_dump(), **named})
