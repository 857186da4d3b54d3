"""Tokens of an identity provider (OpenID Connect): signed JWTs, verified with the keys that the provider publishes."""

from __future__ import annotations

import asyncio
import math
import re
import time
from collections.abc import Callable, Mapping
from typing import Any

import httpx
import jwt

from gateway.access.callers import Caller
from gateway.access.errors import CredentialsInvalid
from gateway.access.schemas import TENANT_PATTERN
from gateway.access.scopes import ALL_SCOPES, Scope
from shared.addresses import is_tamper_proof
from shared.errors import TransientFault
from shared.problems import ProblemCode
from shared.settings import Settings
from shared.telemetry import get_logger

_log = get_logger()
_LEEWAY_S = 30
_LONGEST_TOKEN = 16_384
_LONGEST_SUBJECT = 255  # OpenID Connect Core 1.0, section 2
_REQUIRED = ["exp", "iss", "aud", "sub"]
_KEYS_KEPT_S = 600.0
_ASKED_EVERY_S = 30.0  # however many tokens name keys that nobody knows
_ASKED_AGAIN_S = 1.0  # where it gave none: a storm of tokens must not queue for an answer each
_ANSWER_LIMIT_S = 5.0
_LONGEST_ANSWER = 1_048_576
_CONFIGURATION = "/.well-known/openid-configuration"
_NO_KEYS: tuple[type[Exception], ...] = (
    *(httpx.HTTPError, httpx.InvalidURL, jwt.PyJWTError, TimeoutError),
    *(ValueError, KeyError, TypeError, AttributeError),  # what an answer of another form raises
)


class ProviderKeys:
    """The provider's public keys: fetched when needed, kept for a while, and longer while it does not answer."""

    def __init__(self, issuer: str, jwks_url: str | None, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._issuer = issuer
        self._jwks_url = jwks_url
        self._clock = clock
        self._keys: Mapping[str | None, jwt.PyJWK] = {}
        self._fetched_at = -math.inf
        self._asked_at = -math.inf
        self._turn = asyncio.Lock()

    async def find(self, key_id: str | None) -> jwt.PyJWK | None:
        """Return the key of an id; without an id, the only key. Raises TransientFault while none can be had."""
        async with self._turn:
            is_old = self._clock() - self._fetched_at > _KEYS_KEPT_S
            if is_old or self._look_up(key_id) is None:
                await self._refresh()
        return self._look_up(key_id)

    def _look_up(self, key_id: str | None) -> jwt.PyJWK | None:
        if key_id is None and len(self._keys) == 1:
            return next(iter(self._keys.values()))
        return self._keys.get(key_id)

    async def _refresh(self) -> None:
        since = self._clock() - self._asked_at
        if self._keys and since < _ASKED_EVERY_S:
            return
        if since < _ASKED_AGAIN_S:
            raise _make_fault("has just given no keys")
        try:
            async with asyncio.timeout(_ANSWER_LIMIT_S):
                self._keys = {key.key_id: key for key in jwt.PyJWKSet.from_dict(await self._fetch()).keys}
            self._fetched_at = self._clock()
        except _NO_KEYS as error:
            _log.warning("keys of the identity provider not fetched", error=type(error).__name__)
            if not self._keys:
                raise _make_fault(type(error).__name__) from error
        finally:
            self._asked_at = self._clock()  # by when it has not answered, not by when it was asked

    async def _fetch(self) -> dict[str, Any]:
        async with httpx.AsyncClient(timeout=_ANSWER_LIMIT_S) as client:
            url = self._jwks_url
            if url is None:
                found = await _get_object(client, self._issuer.rstrip("/") + _CONFIGURATION)
                if found["issuer"] != self._issuer:
                    raise ValueError("the provider names another issuer")
                url = str(found["jwks_uri"])
                if not is_tamper_proof(url):
                    raise ValueError("the provider publishes its keys where others could change them")
            return await _get_object(client, url)


class TokenVerifier:
    """Says who sent a token."""

    def __init__(self, issuer: str, audience: str, settings: Settings) -> None:
        self._issuer = issuer
        self._audience = audience
        self._algorithms = list(map(str, settings.oidc_algorithms))
        self._tenant_claim = settings.oidc_tenant_claim
        self._scope_claim = settings.oidc_scope_claim
        self._keys = ProviderKeys(issuer, settings.oidc_jwks_url)

    @classmethod
    def of_settings(cls, settings: Settings) -> TokenVerifier | None:
        """Return the verifier, or None where no provider is named."""
        if settings.oidc_issuer is None or settings.oidc_audience is None:
            return None
        return cls(settings.oidc_issuer, settings.oidc_audience, settings)

    async def verify(self, token: str) -> Caller:
        """Return who sent a token. Raises CredentialsInvalid, or TransientFault while the provider cannot be asked."""
        try:
            key = await self._keys.find(self._read_key_id(token))
            if key is None:
                raise CredentialsInvalid
            claims = jwt.decode(
                token,
                key,
                algorithms=self._algorithms,
                audience=self._audience,
                issuer=self._issuer,
                leeway=_LEEWAY_S,
                options={"require": _REQUIRED},
            )
        except jwt.PyJWTError as error:
            _log.info("token refused", reason=type(error).__name__)
            raise CredentialsInvalid from error
        return self._describe(claims)

    def _read_key_id(self, token: str) -> str | None:
        if len(token) > _LONGEST_TOKEN:
            raise CredentialsInvalid
        header = jwt.get_unverified_header(token)
        if header.get("alg") not in self._algorithms:  # before the provider is asked for anything
            raise CredentialsInvalid
        return header.get("kid")

    def _describe(self, claims: Mapping[str, Any]) -> Caller:
        subject, tenant = str(claims["sub"]), _find_claim(claims, self._tenant_claim)
        is_sound = subject.isprintable() and 0 < len(subject) <= _LONGEST_SUBJECT
        if not is_sound or not isinstance(tenant, str) or not re.fullmatch(TENANT_PATTERN, tenant):
            _log.info("token refused", reason="no usable subject or tenant")
            raise CredentialsInvalid
        return Caller(f"token:{subject}", tenant, _parse_scopes(_find_claim(claims, self._scope_claim)))


def _make_fault(why: str) -> TransientFault:
    return TransientFault(ProblemCode.IDENTITY_PROVIDER_UNAVAILABLE, f"identity provider: {why}")


def _parse_scopes(claim: object) -> frozenset[Scope]:
    """Return the scopes of a claim, which is a list, or a text with spaces between; what others use is passed over."""
    names = claim.split() if isinstance(claim, str) else claim if isinstance(claim, list) else []
    return frozenset(scope for scope in ALL_SCOPES if str(scope) in names)


def _find_claim(claims: Mapping[str, Any], name: str) -> object:
    """Return a claim; `a.b` leads into an object where no claim is named so."""
    if name in claims:
        return claims[name]
    found: object = claims
    for step in name.split("."):
        found = found.get(step) if isinstance(found, dict) else None
    return found


async def _get_object(client: httpx.AsyncClient, url: str) -> dict[str, Any]:
    answer = b""
    async with client.stream("GET", url) as response:
        response.raise_for_status()
        async for chunk in response.aiter_bytes():
            answer += chunk
            if len(answer) > _LONGEST_ANSWER:
                raise ValueError("the answer is too long")
    found = httpx.Response(200, content=answer).json()
    if not isinstance(found, dict):
        raise TypeError("the answer is no object")
    return found
