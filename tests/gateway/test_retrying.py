"""Retrying a failed job by its route."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import Engine, delete, func, select, update

from shared.artefacts import ArtefactKind
from shared.database import transaction
from shared.endings import end_job, lock_open_job
from shared.errors import Defect, InputProblem
from shared.problems import Problem, ProblemCode
from shared.settings import Settings
from shared.stages import StageName
from shared.states import JobState
from shared.storage import ObjectStore
from shared.tables import Artefact, DeadLetter, Event, Feature, Job, Outbox, Result, StageRun
from tests.gateway.conftest import RunningGateway
from tests.gateway.pipeline import (
    SEVEN_FIELDS,
    add_artefact,
    complete,
    complete_intake,
    end_intake,
    finish_job,
    lease_stage,
)
from workers.runtime.completion import fail_stage
from workers.runtime.stage import StageOutput


def submit(gateway: RunningGateway) -> uuid.UUID:
    return uuid.UUID(gateway.submit()["id"])


def retry(gateway: RunningGateway, job_id: uuid.UUID) -> Mapping[str, Any]:
    answer = gateway.http.post(f"/v1/jobs/{job_id}/retry")
    body: Mapping[str, Any] = answer.json()
    assert answer.status_code == (body["status"] if "code" in body else 202)
    return body


def read_states(job: Mapping[str, Any]) -> dict[str, str]:
    return {stage["name"]: stage["state"] for stage in job["stages"]}


def fail_fusion(engine: Engine, store: ObjectStore, job_id: uuid.UUID) -> None:
    """Bring a job to a fusion that has a bug."""
    complete_intake(engine, job_id)
    add_artefact(engine, store, job_id, b"hu", kind=ArtefactKind.VOLUME, media_type="application/x-blosc2")
    complete(engine, job_id, StageName.MEDNEXT, StageOutput(features={"mednext_pneumonia": 0.5}))
    lease = lease_stage(engine, job_id, StageName.FUSION)
    with transaction(engine) as session:
        fail_stage(session, lease, Problem(ProblemCode.INTERNAL_ERROR, "A bug."), cause="defect", evidence={"at": "x"})


class TestRetrying:
    def test_keeps_what_was_finished_and_ends_with_a_result(
        self, gateway: RunningGateway, engine: Engine, store: ObjectStore
    ) -> None:
        job_id = submit(gateway)
        fail_fusion(engine, store, job_id)
        failed = gateway.http.get(f"/v1/jobs/{job_id}").json()
        assert (failed["state"], failed["problem"]["code"]) == ("failed", "internal_error")
        job = retry(gateway, job_id)
        assert (job["state"], job["problem"], job["finished_at"]) == ("queued", None, None)
        states = read_states(job)
        assert (states["intake"], states["mednext"], states["fusion"]) == ("succeeded", "succeeded", "ready")
        assert job["deadline"] > failed["deadline"]
        with transaction(engine) as session:
            assert session.scalar(select(Feature.values).where(Feature.job_id == job_id)) == {"mednext_pneumonia": 0.5}
            waiting = session.scalars(select(Outbox.stage).where(Outbox.job_id == job_id).order_by(Outbox.id)).all()
        assert waiting[-1] is StageName.FUSION
        document = {**SEVEN_FIELDS, "job_id": str(job_id)}
        result = Result(document=document, policy_id="default-1", probability=0.7)
        complete(engine, job_id, StageName.FUSION, StageOutput(rows=[result]))
        assert gateway.http.get(f"/v1/jobs/{job_id}").json()["state"] == "completed_partial"
        assert gateway.http.get(f"/v1/jobs/{job_id}/result").json()["job_id"] == str(job_id)

    def test_begins_anew_where_intake_failed_with_fresh_budgets(
        self, gateway: RunningGateway, engine: Engine, settings: Settings
    ) -> None:
        job_id = submit(gateway)
        end_intake(engine, settings, job_id, [Defect("first"), Defect("second")])
        job = retry(gateway, job_id)
        states = read_states(job)
        assert (states["intake"], states["mednext"], states["fusion"]) == ("ready", "waiting", "waiting")
        assert states["ct_clip"] == "skipped"  # it is not installed here
        with transaction(engine) as session:
            run = session.get_one(StageRun, (job_id, StageName.INTAKE))
            assert (run.defects, run.attempt, run.lease_token, run.problem) == (0, 2, None, None)
            assert session.scalars(select(DeadLetter).where(DeadLetter.job_id == job_id)).all() == []
        finish_job(engine, job_id)
        assert gateway.http.get(f"/v1/jobs/{job_id}").json()["state"] == "completed_partial"

    def test_of_a_job_that_ran_out_of_time_runs_what_was_cancelled(
        self, gateway: RunningGateway, engine: Engine, store: ObjectStore
    ) -> None:
        job_id = submit(gateway)
        complete_intake(engine, job_id)
        add_artefact(engine, store, job_id, b"hu", kind=ArtefactKind.VOLUME, media_type="application/x-blosc2")
        with transaction(engine) as session:
            job = lock_open_job(session, job_id)
            assert job is not None
            end_job(session, job, JobState.FAILED, Problem(ProblemCode.DEADLINE_EXCEEDED, "Late.", {"limit_s": 1}))
        assert read_states(retry(gateway, job_id))["mednext"] == "ready"

    def test_is_told_in_the_events_behind_the_failure(
        self, gateway: RunningGateway, engine: Engine, store: ObjectStore
    ) -> None:
        job_id = submit(gateway)
        fail_fusion(engine, store, job_id)
        retry(gateway, job_id)
        with transaction(engine) as session:
            query = select(Event.stage, Event.state).where(Event.job_id == job_id).order_by(Event.id)
            told = [(stage, state) for stage, state in session.execute(query)]
        assert told[-3:] == [(None, "failed"), (None, "queued"), (StageName.FUSION, "ready")]

    def test_from_many_callers_at_once_happens_once(
        self, gateway: RunningGateway, engine: Engine, store: ObjectStore
    ) -> None:
        job_id = submit(gateway)
        fail_fusion(engine, store, job_id)
        with ThreadPoolExecutor(6) as pool:
            answers = list(pool.map(lambda _: retry(gateway, job_id), range(6)))
        assert sorted(answer.get("code", "retried") for answer in answers) == ["job_cannot_be_retried"] * 5 + [
            "retried"
        ]
        with transaction(engine) as session:
            messages = select(func.count()).where(Outbox.job_id == job_id, Outbox.stage == StageName.FUSION)
            assert session.scalar(messages) == 2  # the first run's and the retry's


class TestWhatCannotBeRetried:
    @pytest.mark.parametrize("state", ["queued", "rejected", "cancelled", "completed_partial"])
    def test_is_every_job_that_did_not_fail(
        self, gateway: RunningGateway, engine: Engine, settings: Settings, state: str
    ) -> None:
        job_id = submit(gateway)
        if state == "rejected":
            end_intake(engine, settings, job_id, [InputProblem(ProblemCode.NO_DICOM_IMAGES, "Only text.")])
        elif state == "cancelled":
            gateway.http.post(f"/v1/jobs/{job_id}/cancel")
        elif state == "completed_partial":
            finish_job(engine, job_id)
        problem = retry(gateway, job_id)
        assert (problem["code"], problem["job_state"], problem["reason"]) == (
            "job_cannot_be_retried",
            state,
            "not_failed",
        )

    def test_is_a_job_whose_study_is_gone(self, gateway: RunningGateway, engine: Engine, settings: Settings) -> None:
        job_id = submit(gateway)
        end_intake(engine, settings, job_id, [Defect("first"), Defect("second")])
        with transaction(engine) as session:
            session.execute(delete(Artefact).where(Artefact.job_id == job_id))
        assert retry(gateway, job_id)["reason"] == "study_removed"

    def test_is_another_tenants_job(self, gateway: RunningGateway, engine: Engine) -> None:
        job_id = submit(gateway)
        with transaction(engine) as session:
            session.execute(update(Job).where(Job.id == job_id).values(tenant="another"))
        assert retry(gateway, job_id)["code"] == "job_not_found"
