"""Receipts and the key that verifies them, as the gateway gives them out."""

from __future__ import annotations

import uuid
from typing import Any

from pydantic import SecretStr
from sqlalchemy import Engine

from shared.database import transaction
from shared.receipts import make_statement, read_receipt_key
from shared.settings import Settings
from shared.stages import StageName
from shared.tables import Result, StageRun
from tests.gateway.conftest import RunningGateway, running_gateway
from tests.gateway.pipeline import SEVEN_FIELDS, finish_job

KEY = read_receipt_key(SecretStr("ab" * 32))
assert KEY is not None


def finish(gateway: RunningGateway, engine: Engine, **options: str) -> uuid.UUID:
    answer = gateway.http.post("/v1/jobs", params=options, content=b"PK\x03\x04")
    job_id = uuid.UUID(answer.json()["id"])
    finish_job(engine, job_id)
    return job_id


class TestAReceipt:
    def test_is_the_one_that_was_signed_with_the_result(self, gateway: RunningGateway, engine: Engine) -> None:
        job_id = finish(gateway, engine)
        document: dict[str, Any] = {
            **SEVEN_FIELDS,
            "job_id": str(job_id),
            "policy_id": "default-1",
            "weights_profile": "demo",
        }
        assert KEY is not None
        receipt = KEY.sign(make_statement(document, manifest_sha256="a" * 64, issued_at="2026-11-29T14:00:00Z"))
        with transaction(engine) as session:
            session.get_one(Result, job_id).receipt = receipt
        answer = gateway.http.get(f"/v1/jobs/{job_id}/receipt")
        assert answer.json() == receipt
        known = gateway.http.get(f"/v1/jobs/{job_id}/receipt", headers={"If-None-Match": answer.headers["etag"]})
        assert known.status_code == 304

    def test_is_none_where_none_was_signed(self, gateway: RunningGateway, engine: Engine) -> None:
        refused = gateway.http.get(f"/v1/jobs/{finish(gateway, engine)}/receipt")
        assert (refused.status_code, refused.json()["code"]) == (404, "not_found")

    def test_is_none_before_there_is_a_result(self, gateway: RunningGateway) -> None:
        refused = gateway.http.get(f"/v1/jobs/{gateway.submit()['id']}/receipt")
        assert (refused.status_code, refused.json()["code"]) == (409, "job_not_finished")


class TestThePublicKey:
    def test_is_told_where_there_is_a_key(self, engine: Engine, settings: Settings) -> None:
        with running_gateway(settings.model_copy(update={"receipt_key": SecretStr("ab" * 32)})) as signing:
            told = signing.http.get("/v1/receipt-key")
        assert KEY is not None
        assert told.json() == KEY.describe_public()
        assert "ab" * 32 not in told.text

    def test_is_not_told_where_there_is_none(self, engine: Engine, settings: Settings) -> None:
        with running_gateway(settings.model_copy(update={"receipt_key": None})) as bare:
            assert bare.http.get("/v1/receipt-key").json()["code"] == "not_found"


class TestReuse:
    def test_is_asked_for_by_yes_or_no(self, gateway: RunningGateway) -> None:
        answer = gateway.http.post("/v1/jobs", params={"reuse": "perhaps"}, content=b"PK\x03\x04")
        assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "/reuse")

    def test_is_shown_of_a_job_and_its_stages(self, gateway: RunningGateway, engine: Engine) -> None:
        job_id, origin = finish(gateway, engine, reuse="true"), uuid.uuid4()
        with transaction(engine) as session:
            session.get_one(StageRun, (job_id, StageName.MEDNEXT)).reused_from = origin
        job = gateway.http.get(f"/v1/jobs/{job_id}").json()
        assert job["reused_from"] == str(origin)
        stages = {stage["name"]: stage["reused_from"] for stage in job["stages"]}
        assert stages.pop("mednext") == str(origin)
        assert set(stages.values()) == {None}
