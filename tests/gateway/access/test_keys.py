"""API keys: made once, kept as digests, ended at will."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import Engine, func, select, text, update

from deploy.embedded.ports import assign_ports
from gateway.access.keys import MARK, make_key, parse_key
from gateway.access.scopes import Scope
from shared.access_tables import ApiKey
from shared.database import transaction
from shared.settings import Settings
from tests.gateway.access.conftest import KeyMaker, send_as
from tests.gateway.conftest import ZIP, RunningGateway
from tests.stack.running import wait_until

PLACE = "/v1/api-keys"


def create(gateway: RunningGateway, admin: str, **fields: object) -> httpx.Response:
    return send_as(gateway, admin, "POST", PLACE, json={"name": "pacs", "scopes": ["jobs:read"], **fields})


class TestAKey:
    def test_is_parsed_as_it_was_made(self) -> None:
        key = make_key()
        assert parse_key(key.text) == key
        assert key.matches(key.sha256)
        assert not key.matches(make_key().sha256)
        assert not key.matches(None)

    def test_does_not_show_itself(self) -> None:
        key = make_key()
        assert key.text not in f"{key!r} {key}"

    @pytest.mark.parametrize("written", ["", MARK, f"{MARK}abc", f"{MARK}_abc", f"{MARK}abc_", "abc_def", f"{MARK}é_a"])
    def test_is_not_anything(self, written: str) -> None:
        assert parse_key(written) is None


class TestMaking:
    def test_shows_the_key_once_and_keeps_its_digest(
        self, guarded: RunningGateway, key_of: KeyMaker, engine: Engine
    ) -> None:
        admin = key_of(Scope.ADMIN)
        answer = create(guarded, admin)
        made = answer.json()
        assert answer.status_code == 201
        assert answer.headers["Location"] == f"{PLACE}/{made['id']}"
        assert made["key"].startswith(f"{MARK}{made['prefix']}_")
        assert made["created_by"] == f"key:{admin.split('_')[1]}"
        kept = send_as(guarded, admin, "GET", answer.headers["Location"]).json()
        assert kept == {name: value for name, value in made.items() if name != "key"}
        with transaction(engine) as session:
            row = session.execute(text("SELECT * FROM api_keys WHERE id = :id"), {"id": made["id"]}).one()
        assert made["key"].split("_")[2] not in str(row)

    @pytest.mark.parametrize(
        ("fields", "pointer"),
        [
            ({"scopes": []}, "/scopes"),
            ({"scopes": ["jobs:all"]}, "/scopes/0"),
            ({"name": ""}, "/name"),
            ({"name": "a\nb"}, "/name"),
            ({"tenant": "Ward A"}, "/tenant"),
            ({"expires_at": "2020-01-01T00:00:00Z"}, "/expires_at"),
            ({"secret": "mine"}, "/secret"),
        ],
    )
    def test_names_wrong_fields(
        self, guarded: RunningGateway, key_of: KeyMaker, fields: dict[str, Any], pointer: str
    ) -> None:
        answer = create(guarded, key_of(), **fields)
        assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, pointer)

    def test_for_another_tenant_is_the_operators_alone(self, guarded: RunningGateway, key_of: KeyMaker) -> None:
        made = create(guarded, key_of(), tenant="ward-c").json()
        assert made["tenant"] == "ward-c"
        ward = key_of(tenant="ward-c")
        assert create(guarded, ward).json()["tenant"] == "ward-c"
        assert create(guarded, ward, tenant="default").json()["code"] == "tenant_forbidden"
        foreign = create(guarded, key_of()).json()["id"]
        assert send_as(guarded, ward, "GET", f"{PLACE}/{foreign}").json()["code"] == "api_key_not_found"
        assert send_as(guarded, ward, "DELETE", f"{PLACE}/{foreign}").status_code == 404
        assert send_as(guarded, ward, "GET", PLACE, params={"tenant": "default"}).status_code == 403
        assert {one["tenant"] for one in send_as(guarded, ward, "GET", PLACE).json()["items"]} == {"ward-c"}


class TestListing:
    def test_goes_page_by_page(self, guarded: RunningGateway, key_of: KeyMaker) -> None:
        admin, tenant = key_of(), f"ward-{uuid.uuid4().hex[:8]}"
        made = [create(guarded, admin, tenant=tenant).json()["id"] for _ in range(3)]
        query = {"tenant": tenant, "limit": "2"}
        first = send_as(guarded, admin, "GET", PLACE, params=query).json()
        second = send_as(guarded, admin, "GET", PLACE, params={**query, "cursor": first["next_cursor"]}).json()
        assert [one["id"] for one in (*first["items"], *second["items"])] == made[::-1]
        assert second["next_cursor"] is None
        assert all("key" not in one for one in first["items"])


class TestAnEndedKey:
    def test_is_refused_at_once_when_revoked_and_stays_listed(self, guarded: RunningGateway, key_of: KeyMaker) -> None:
        admin = key_of()
        made = create(guarded, admin).json()
        assert send_as(guarded, made["key"], "GET", "/v1/jobs").status_code == 200
        for _ in range(2):
            assert send_as(guarded, admin, "DELETE", f"{PLACE}/{made['id']}").status_code == 204
        assert send_as(guarded, made["key"], "GET", "/v1/jobs").status_code == 401
        kept = send_as(guarded, admin, "GET", f"{PLACE}/{made['id']}").json()
        assert kept["revoked_at"] is not None
        assert kept["last_used_at"] is not None

    def test_is_answered_alike_whether_it_is_unknown_revoked_or_expired(
        self, guarded: RunningGateway, key_of: KeyMaker, engine: Engine
    ) -> None:
        admin = key_of()
        later = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
        revoked, expired = create(guarded, admin).json(), create(guarded, admin, expires_at=later).json()
        assert send_as(guarded, expired["key"], "GET", "/v1/jobs").status_code == 200
        send_as(guarded, admin, "DELETE", f"{PLACE}/{revoked['id']}")
        with transaction(engine) as session:
            session.execute(update(ApiKey).where(ApiKey.id == expired["id"]).values(expires_at=func.now()))
        answers = [
            send_as(guarded, key, "GET", "/v1/jobs") for key in (make_key().text, revoked["key"], expired["key"])
        ]
        assert [answer.status_code for answer in answers] == [401, 401, 401]
        told = [{**answer.json(), "trace_id": None} for answer in answers]
        assert told[0] == told[1] == told[2]


class TestSecrets:
    def test_stand_in_no_log_of_the_process(
        self, guarded_settings: Settings, engine: Engine, key_of: KeyMaker, tmp_path: Path
    ) -> None:
        key, wrong, port, log = key_of(), make_key().text, assign_ports(["gateway"], {})["gateway"], tmp_path / "log"
        with log.open("wb") as stream:
            process = subprocess.Popen(
                [sys.executable, "-m", "gateway"], stderr=stream, env=_environment(guarded_settings, port)
            )
            try:
                url = f"http://127.0.0.1:{port}"
                wait_until(lambda: _answers(url), "the gateway answers")
                for sent in (key, wrong, "a.b.c"):
                    headers = {"Authorization": f"Bearer {sent}"}
                    httpx.post(f"{url}/v1/jobs", content=ZIP, headers=headers)
                made = httpx.post(
                    f"{url}{PLACE}",
                    json={"name": "log", "scopes": ["jobs:read"]},
                    headers={"Authorization": f"Bearer {key}"},
                ).json()
            finally:
                process.terminate()
                process.wait(30)
        written = log.read_text()
        assert "job accepted" in written
        assert "refused" in written
        assert not [one for one in (key, wrong, made["key"]) if one.split("_")[2] in written]


def _environment(settings: Settings, port: int) -> dict[str, str]:
    given = settings.model_dump(mode="json", include={"storage_endpoint", "storage_bucket", "storage_secure"})
    secret = {
        name: getattr(settings, name).get_secret_value()
        for name in ("database_url", "storage_access_key", "storage_secret_key")
    }
    named = {**given, **secret, "gateway_port": port, "authentication": "required"}
    return {**os.environ, **{f"CTCLIP_{name.upper()}": str(value) for name, value in named.items()}}


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/livez").status_code == httpx.codes.OK
    except httpx.TransportError:
        return False


def test_the_use_of_a_key_is_noted(guarded: RunningGateway, key_of: KeyMaker, engine: Engine) -> None:
    key = key_of()
    send_as(guarded, key, "GET", "/v1/limits")
    with transaction(engine) as session:
        used = session.scalar(select(ApiKey.last_used_at).where(ApiKey.prefix == key.split("_")[1]))
    assert used is not None
