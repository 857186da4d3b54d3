"""Who may ask what: held over every route of the application."""

from __future__ import annotations

import asyncio
import re
import uuid
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import Engine, delete, func, update
from starlette.types import Message, Receive

from client import Client
from gateway.access.errors import TenantUploadsBusy
from gateway.access.keys import make_key
from gateway.access.rules import GuardedRoute
from gateway.access.scopes import ALL_SCOPES, Scope
from gateway.access.turns import UploadTurns
from gateway.app import RULES, create_app
from shared.access_tables import Allowance, ApiKey
from shared.database import transaction
from shared.settings import Settings
from tests.gateway.access.conftest import KeyMaker, send_as
from tests.gateway.conftest import ZIP, RunningGateway, running_gateway
from tests.gateway.event_stream import Stream
from tests.stack.running import wait_until

OPEN_PATHS = {
    "/health",
    "/livez",
    "/readyz",
    "/docs",
    "/",
    "/v1/problems/not_found",
    "/v1/schemas/result",
    "/openapi.json",
}
CLOSED = [guarded for guarded in RULES if not guarded.rule.is_open]
BODIES = {"/replay": {"since": "2026-01-01T00:00:00Z"}, "/{webhook_id}": {"enabled": False}}


def name_of(guarded: GuardedRoute) -> str:
    return f"{guarded.method} {guarded.route.path}"


def fill(path: str, **known: str) -> str:
    return re.sub(r"{(\w+)}", lambda found: known.get(found[1], "1"), path)


def body_of(guarded: GuardedRoute) -> object:
    return next((body for end, body in BODIES.items() if guarded.route.path.endswith(end)), None)


class TestEveryRoute:
    @pytest.mark.parametrize("guarded_route", CLOSED, ids=name_of)
    def test_that_is_not_open_asks_for_a_key(self, guarded: RunningGateway, guarded_route: GuardedRoute) -> None:
        answer = guarded.http.request(guarded_route.method, fill(guarded_route.route.path))
        assert (answer.status_code, answer.json()["code"]) == (401, "authentication_required")
        assert answer.headers["WWW-Authenticate"] == 'Bearer realm="ctclip"'

    @pytest.mark.parametrize(
        ("guarded_route", "needed"),
        [pytest.param(one, scope, id=f"{name_of(one)} {scope}") for one in CLOSED for scope in one.rule.scopes],
    )
    def test_is_closed_to_a_key_with_every_scope_but_its_own(
        self, guarded: RunningGateway, key_of: KeyMaker, guarded_route: GuardedRoute, needed: Scope
    ) -> None:
        key = key_of(*(ALL_SCOPES - {needed}))
        answer = send_as(guarded, key, guarded_route.method, fill(guarded_route.route.path))
        assert (answer.status_code, answer.json()["code"], answer.json()["scope"]) == (
            403,
            "insufficient_scope",
            needed,
        )
        assert f'scope="{needed}"' in answer.headers["WWW-Authenticate"]

    @pytest.mark.parametrize("path", sorted(OPEN_PATHS))
    def test_that_is_open_asks_for_none(self, guarded: RunningGateway, path: str) -> None:
        assert guarded.http.get(path, follow_redirects=True).status_code == 200

    def test_says_in_the_description_what_it_needs(self, settings: Settings) -> None:
        paths = create_app(settings).openapi()["paths"]
        for guarded_route in (one for one in RULES if one.route.include_in_schema):
            operation = paths[guarded_route.route.path][guarded_route.method.lower()]
            assert bool(operation["security"]) is not guarded_route.rule.is_open
            assert ("429" in operation["responses"]) or guarded_route.rule.is_open


class TestTenants:
    def test_reach_nothing_of_each_other(self, guarded: RunningGateway, key_of: KeyMaker) -> None:
        owner, stranger = key_of(tenant="ward-c"), key_of(tenant="ward-d")
        job_id = send_as(guarded, owner, "POST", "/v1/jobs", content=ZIP).json()["id"]
        upload = send_as(guarded, owner, "POST", "/v1/uploads", json={"size_bytes": 10}).json()["id"]
        webhook = send_as(guarded, owner, "POST", "/v1/webhooks", json={"url": "https://8.8.8.8/hook"}).json()["id"]
        ids = {"job_id": job_id, "upload_id": upload, "webhook_id": webhook, "number": "1", "name": "preview"}
        reached = [one for one in CLOSED if any(f"{{{name}}}" in one.route.path for name in ids)]
        assert len(reached) > 12
        for one in reached:
            path = fill(one.route.path, **ids)
            answer = send_as(guarded, stranger, one.method, path, json=body_of(one))
            assert answer.status_code == 404, (name_of(one), answer.text)
        for collection in ("jobs", "uploads", "webhooks"):
            assert not send_as(guarded, stranger, "GET", f"/v1/{collection}").json()["items"]
            assert send_as(guarded, owner, "GET", f"/v1/{collection}").json()["items"]
        assert send_as(guarded, owner, "GET", f"/v1/jobs/{job_id}").status_code == 200

    def test_learn_nothing_of_what_another_erased(self, guarded: RunningGateway, key_of: KeyMaker) -> None:
        owner, stranger = key_of(tenant="ward-a"), key_of(tenant="ward-b")
        place = "/v1/jobs/" + send_as(guarded, owner, "POST", "/v1/jobs", content=ZIP).json()["id"]
        assert send_as(guarded, owner, "DELETE", place).status_code == 200
        assert send_as(guarded, owner, "GET", place).status_code == 410
        assert send_as(guarded, stranger, "GET", place).status_code == 404

    def test_may_use_the_same_idempotency_key(self, guarded: RunningGateway, key_of: KeyMaker) -> None:
        again = {"Idempotency-Key": str(uuid.uuid4())}
        jobs = [
            guarded.http.post(
                "/v1/jobs", content=ZIP, headers={"Authorization": f"Bearer {key_of(tenant=tenant)}", **again}
            ).json()["id"]
            for tenant in ("ward-a", "ward-b")
        ]
        assert len(set(jobs)) == 2


class TestCredentials:
    @pytest.mark.parametrize("header", ["", "Bearer", "Basic dTpw", "Bearer ctclip_", "Bearer a.b.c", "é"])
    def test_that_are_none_are_refused(self, guarded: RunningGateway, header: str) -> None:
        answer = guarded.http.get("/v1/jobs", headers=[(b"Authorization", header.encode())])
        assert (answer.status_code, answer.json()["code"]) == (401, "credentials_invalid")
        assert 'error="invalid_token"' in answer.headers["WWW-Authenticate"]

    def test_are_asked_for_before_the_body_is_read(self, guarded: RunningGateway) -> None:
        headers = {"Content-Type": "application/json"}
        assert guarded.http.post("/v1/api-keys", content=b"{no json", headers=headers).status_code == 401

    def test_are_refused_before_a_large_body_is_sent(self, guarded: RunningGateway) -> None:
        with guarded.connect() as connection:
            connection.sendall(b"POST /v1/jobs HTTP/1.1\r\nHost: x\r\nContent-Length: 20000000\r\n\r\nPK")
            assert connection.recv(4096).startswith(b"HTTP/1.1 401 ")

    def test_with_a_wrong_end_are_refused(self, guarded: RunningGateway, key_of: KeyMaker) -> None:
        key = key_of()
        other = key[:-1] + ("a" if key[-1] != "a" else "b")
        assert send_as(guarded, key, "GET", "/v1/jobs").status_code == 200
        assert send_as(guarded, other, "GET", "/v1/jobs").json()["code"] == "credentials_invalid"


class TestRateLimit:
    def test_holds_over_two_gateways_and_for_each_key_alone(
        self, guarded_settings: Settings, guarded: RunningGateway, key_of: KeyMaker
    ) -> None:
        slow = guarded_settings.model_copy(update={"rate_limit_per_minute": 1, "rate_limit_burst": 5})
        key = key_of()
        with running_gateway(slow) as first, running_gateway(slow) as second:
            answers = [send_as(one, key, "GET", "/v1/limits") for one in (first, second, first, second, first, second)]
            assert [answer.status_code for answer in answers] == [200, 200, 200, 200, 200, 429]
            assert send_as(first, key_of(), "GET", "/v1/limits").status_code == 200
        assert [answer.headers["RateLimit"].split(";")[1] for answer in answers] == [
            "r=4",
            "r=3",
            "r=2",
            "r=1",
            "r=0",
            "r=0",
        ]
        refused = answers[-1]
        assert refused.json()["code"] == "rate_limited"
        assert refused.headers["RateLimit-Policy"] == '"requests";q=5;w=300'
        assert 1 <= int(refused.headers["Retry-After"]) <= 60

    def test_is_shared_by_all_keys_of_a_tenant_and_by_no_other_tenant(
        self, guarded_settings: Settings, key_of: KeyMaker
    ) -> None:
        narrow = guarded_settings.model_copy(update={"tenant_rate_limit_per_minute": 1, "tenant_rate_limit_burst": 2})
        tenant = f"ward-{uuid.uuid4().hex[:8]}"
        first, second = key_of(tenant=tenant), key_of(tenant=tenant)
        with running_gateway(narrow) as gateway:
            answers = [send_as(gateway, key, "GET", "/v1/limits") for key in (first, second, second)]
            assert [answer.status_code for answer in answers] == [200, 200, 429]
            assert answers[0].headers["RateLimit"].startswith('"tenant";r=1;')
            assert "of this tenant" in answers[2].json()["detail"]
            assert send_as(gateway, key_of(tenant=f"{tenant}-b"), "GET", "/v1/limits").status_code == 200

    def test_of_an_address_holds_for_keys_that_are_not_valid_and_for_no_others(
        self, guarded_settings: Settings, key_of: KeyMaker, engine: Engine
    ) -> None:
        narrow = guarded_settings.model_copy(update={"refused_limit_per_minute": 2})
        with transaction(engine) as session:
            session.execute(delete(Allowance).where(Allowance.caller == "@127.0.0.1"))
        with running_gateway(narrow) as gateway:
            answers = [send_as(gateway, make_key().text, "GET", "/v1/jobs") for _ in range(3)]
            assert [answer.status_code for answer in answers] == [401, 401, 429]
            assert 1 <= int(answers[2].headers["Retry-After"]) <= 30
            assert send_as(gateway, key_of(), "GET", "/v1/jobs").status_code == 200

    def test_gives_back_as_time_goes(self, guarded_settings: Settings, key_of: KeyMaker) -> None:
        quick = guarded_settings.model_copy(update={"rate_limit_per_minute": 120, "rate_limit_burst": 1})
        key = key_of()
        with running_gateway(quick) as gateway:
            assert send_as(gateway, key, "GET", "/v1/limits").status_code == 200
            wait_until(lambda: send_as(gateway, key, "GET", "/v1/limits").status_code == 200, "one more is allowed", 10)


class TestUploadsAtOnce:
    def test_are_bounded_for_each_tenant(self, guarded_settings: Settings, key_of: KeyMaker) -> None:
        limits = {"tenant_upload_concurrency": 1, "tenant_upload_patience": timedelta(seconds=0.1)}
        narrow = guarded_settings.model_copy(update=limits)
        slow, other = key_of(tenant="ward-a"), key_of(tenant="ward-b")
        head = f"POST /v1/jobs HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {slow}\r\nContent-Length: 1000\r\n\r\n"
        with running_gateway(narrow) as gateway:
            with gateway.connect() as held:
                held.sendall(head.encode() + ZIP)
                wait_until(lambda: self._send(gateway, slow) == 429, "the first body is coming in", 20)
                refused = send_as(gateway, slow, "POST", "/v1/jobs", content=ZIP)
                assert (refused.json()["code"], refused.json()["limit"]) == ("tenant_uploads_busy", 1)
                assert refused.headers["Retry-After"] == "2"
                assert self._send(gateway, other) == 202
                assert send_as(gateway, slow, "GET", "/v1/jobs").status_code == 200
            wait_until(lambda: self._send(gateway, slow) == 202, "the turn is given back", 20)

    @pytest.mark.parametrize(
        ("method", "path", "media_type"),
        [("PUT", "/v1/uploads/1/parts/1", "application/json"), ("POST", "/v1/jobs", "application/jsonl")],
    )
    def test_are_counted_whatever_their_type_says(self, method: str, path: str, media_type: str) -> None:
        headers = [(b"content-length", b"9"), (b"content-type", media_type.encode())]
        turns, scope = UploadTurns(1, 0.01), {"type": "http", "method": method, "path": path, "headers": headers}

        async def take_two() -> None:
            async with turns.take("ward-a", scope, _receive_nothing), turns.take("ward-a", scope, _receive_nothing):
                pytest.fail("two turns were given at once")

        with pytest.raises(TenantUploadsBusy):
            asyncio.run(take_two())
        with pytest.raises(TenantUploadsBusy):  # and what was given back leaves nothing behind
            asyncio.run(take_two())

    def test_wait_for_their_turn_while_others_are_quick(self) -> None:
        headers = [(b"content-length", b"9")]
        turns, scope = UploadTurns(2, 10), {"type": "http", "method": "POST", "path": "/v1/jobs", "headers": headers}

        async def send() -> bool:
            async with turns.take("ward-a", scope, _receive_nothing) as receive:
                await asyncio.sleep(0)
                return bool((await receive())["type"] == "http.disconnect")

        async def send_many() -> list[bool]:
            return await asyncio.gather(*(send() for _ in range(50)))

        assert asyncio.run(send_many()) == [True] * 50

    def test_are_not_what_only_names_an_upload(self) -> None:
        headers = [(b"content-length", b"9"), (b"content-type", b"Application/JSON; charset=utf-8")]
        scope = {"type": "http", "method": "POST", "path": "/v1/jobs", "headers": headers}

        async def take() -> Receive:
            async with UploadTurns(0, 0).take("ward-a", scope, _receive_nothing) as receive:
                return receive

        assert asyncio.run(take()) is _receive_nothing

    @staticmethod
    def _send(gateway: RunningGateway, key: str) -> int:
        return send_as(gateway, key, "POST", "/v1/jobs", content=ZIP).status_code


class TestTheCompatibleRoutes:
    @pytest.mark.parametrize("scope", [Scope.JOBS_WRITE, Scope.JOBS_READ])
    @pytest.mark.parametrize("path", ["/predict", "/predict_nifti"])
    def test_hand_no_result_to_whoever_may_only_submit_or_only_read(
        self, guarded: RunningGateway, key_of: KeyMaker, path: str, scope: Scope
    ) -> None:
        answer = send_as(guarded, key_of(scope), "POST", path, files={"file": ("study.zip", ZIP)})
        assert (answer.status_code, answer.json()["code"]) == (403, "insufficient_scope")
        assert {answer.json()["scope"], scope} == {Scope.JOBS_WRITE, Scope.JOBS_READ}


def test_a_large_file_is_sent_in_parts_by_a_key_that_may_not_look_for_earlier_ones(
    guarded: RunningGateway, key_of: KeyMaker, tmp_path: Path
) -> None:
    study = tmp_path / "study.zip"
    study.write_bytes(ZIP)
    with Client(guarded.url, api_key=key_of(Scope.JOBS_WRITE), parts_from_bytes=1) as client:
        assert client.submit(study).state == "queued"


class TestMetrics:
    def test_are_the_operators_alone(self, guarded: RunningGateway, key_of: KeyMaker) -> None:
        assert send_as(guarded, key_of(Scope.METRICS), "GET", "/metrics").status_code == 200
        refused = send_as(guarded, key_of(Scope.METRICS, tenant="ward-a"), "GET", "/metrics")
        assert (refused.status_code, refused.json()["code"]) == (403, "tenant_forbidden")


class TestAStream:
    @pytest.mark.parametrize(
        "end", [{"revoked_at": func.now()}, {"expires_at": func.now()}], ids=lambda end: next(iter(end))
    )
    def test_ends_soon_after_the_key_that_opened_it(
        self, guarded_settings: Settings, key_of: KeyMaker, engine: Engine, end: dict[str, object]
    ) -> None:
        lively = guarded_settings.model_copy(update={"event_heartbeat": timedelta(seconds=0.1)})
        key = key_of()
        with running_gateway(lively) as gateway:
            place = send_as(gateway, key, "POST", "/v1/jobs", content=ZIP).headers["Location"]
            headers = {"Authorization": f"Bearer {key}"}
            with gateway.http.stream("GET", f"{place}/events", headers=headers) as answer:
                stream = Stream(answer)
                stream.wait_for_comment()
                stream.wait_for_comment()  # looked at and let go on
                with transaction(engine) as session:
                    session.execute(update(ApiKey).where(ApiKey.prefix == key.split("_")[1]).values(end))
                assert stream.read_all() == []
            assert send_as(gateway, key, "GET", f"{place}/events").status_code == 401


class TestStreamsAtOnce:
    def test_of_one_tenant_leave_room_for_another(self, guarded_settings: Settings, key_of: KeyMaker) -> None:
        narrow = guarded_settings.model_copy(update={"event_streams_limit": 2})
        first, second = (key_of(tenant=f"ward-{uuid.uuid4().hex[:8]}") for _ in range(2))
        with running_gateway(narrow) as gateway, ExitStack() as held:
            assert self._listen(gateway, first, held) == 200
            assert self._listen(gateway, first, held) == 429
            assert self._listen(gateway, second, held) == 200

    @staticmethod
    def _listen(gateway: RunningGateway, key: str, held: ExitStack) -> int:
        """Open a stream of events, wait for the first of them, and keep it open."""
        place = send_as(gateway, key, "POST", "/v1/jobs", content=ZIP).headers["Location"]
        headers = {"Authorization": f"Bearer {key}"}
        answer = held.enter_context(gateway.http.stream("GET", f"{place}/events", headers=headers))
        lines = answer.iter_lines()
        held.callback(iter, lines)  # kept from being collected, which would close the stream
        next(lines)
        return answer.status_code


async def _receive_nothing() -> Message:
    return {"type": "http.disconnect"}


def test_the_scopes_are_those_of_the_contract() -> None:
    assert set(map(str, Scope)) == {"jobs:write", "jobs:read", "webhooks", "metrics", "admin"}
