"""Cancelling a job by its route."""

from __future__ import annotations

import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import Engine, select, update

from shared.database import transaction
from shared.errors import InputProblem
from shared.events import EventType
from shared.problems import ProblemCode
from shared.settings import Settings
from shared.stages import StageName
from shared.tables import Event, Job, Outbox
from tests.gateway.conftest import RunningGateway
from tests.gateway.pipeline import complete_intake, end_intake, finish_job, lease_stage


def submit(gateway: RunningGateway) -> uuid.UUID:
    return uuid.UUID(gateway.submit()["id"])


class TestCancelling:
    @pytest.mark.parametrize("progressed", ["nothing", "intake leased", "intake done", "model leased"])
    def test_ends_a_job_at_any_stage(self, gateway: RunningGateway, engine: Engine, progressed: str) -> None:
        job_id = submit(gateway)
        if progressed == "intake leased":
            lease_stage(engine, job_id, StageName.INTAKE)
        if progressed in {"intake done", "model leased"}:
            complete_intake(engine, job_id)
        if progressed == "model leased":
            lease_stage(engine, job_id, StageName.MEDNEXT)
        answer = gateway.http.post(f"/v1/jobs/{job_id}/cancel")
        job = answer.json()
        assert (answer.status_code, job["state"], job["progress"], job["problem"]) == (200, "cancelled", 1, None)
        assert job["finished_at"] is not None
        assert {stage["state"] for stage in job["stages"]} <= {"cancelled", "skipped", "succeeded"}
        with transaction(engine) as session:
            last = session.scalars(select(Event).where(Event.job_id == job_id).order_by(Event.id.desc())).first()
            assert last is not None
            assert (last.type, last.state) == (EventType.JOB_STATE, "cancelled")

    def test_again_is_no_error_and_changes_nothing(self, gateway: RunningGateway) -> None:
        job_id = submit(gateway)
        first, second = (gateway.http.post(f"/v1/jobs/{job_id}/cancel") for _ in range(2))
        assert (first.status_code, second.status_code, second.json()) == (200, 200, first.json())
        problem = gateway.http.get(f"/v1/jobs/{job_id}/result").json()
        assert (problem["code"], problem["job_state"]) == ("job_has_no_result", "cancelled")

    def test_of_what_has_ended_is_refused(self, gateway: RunningGateway, engine: Engine, settings: Settings) -> None:
        finished, rejected = submit(gateway), submit(gateway)
        finish_job(engine, finished)
        end_intake(engine, settings, rejected, [InputProblem(ProblemCode.NO_DICOM_IMAGES, "Only text.")])
        answers = [gateway.http.post(f"/v1/jobs/{job_id}/cancel").json() for job_id in (finished, rejected)]
        assert [(answer["status"], answer["code"], answer["job_state"]) for answer in answers] == [
            (409, "job_already_finished", "completed_partial"),
            (409, "job_already_finished", "rejected"),
        ]

    def test_from_many_callers_at_once_ends_it_once(self, gateway: RunningGateway, engine: Engine) -> None:
        job_id = submit(gateway)
        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(lambda _: gateway.http.post(f"/v1/jobs/{job_id}/cancel"), range(8)))
        assert {answer.status_code for answer in answers} == {200}
        with transaction(engine) as session:
            ended = select(Event).where(Event.job_id == job_id, Event.state == "cancelled", Event.stage.is_(None))
            assert len(session.scalars(ended).all()) == 1

    def test_of_another_tenants_job_finds_none(self, gateway: RunningGateway, engine: Engine) -> None:
        job_id = submit(gateway)
        with transaction(engine) as session:
            session.execute(update(Job).where(Job.id == job_id).values(tenant="another"))
        assert gateway.http.post(f"/v1/jobs/{job_id}/cancel").json()["code"] == "job_not_found"
        with transaction(engine) as session:
            assert session.scalars(select(Outbox).where(Outbox.job_id == job_id)).first() is not None
