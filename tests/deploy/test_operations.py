"""`ctclip jobs`, `ctclip dead-letters` and `ctclip models pause`, on a real database with real jobs in it."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, delete, select, update
from typer import BadParameter, Typer
from typer.testing import CliRunner

from deploy.operations import dead_letters, jobs, models
from deploy.operations.ages import parse_age, write_age
from shared.acceptance import NewJob, StoredUpload, add_job
from shared.access_tables import AuditEntry
from shared.artefacts import UploadKind
from shared.database import transaction
from shared.outbox import publish_stages
from shared.pauses import Pause
from shared.problems import Problem, ProblemCode
from shared.settings import Settings, get_settings
from shared.stages import SkipReason, StageName
from shared.states import JobState, StageState
from shared.storage import StoredObject
from shared.tables import DeadLetter, Job, ModelVersion, Policy, StageRun
from workers.control.pausing import skip_paused_stages
from workers.runtime.completion import complete_stage, fail_stage
from workers.runtime.lease import Lease, claim
from workers.runtime.stage import StageOutput

Run = Callable[..., Any]


@pytest.fixture
def run(settings: Settings, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    """Return a function that runs a command with the settings of the test and returns what it printed as JSON."""
    monkeypatch.setenv("CTCLIP_STORAGE_ENDPOINT", settings.storage_endpoint)
    for name in ("database_url", "storage_access_key", "storage_secret_key"):
        monkeypatch.setenv(f"CTCLIP_{name.upper()}", getattr(settings, name).get_secret_value())
    get_settings.cache_clear()

    def run_command(app: Typer, *arguments: object, expected: int = 0) -> Any:  # noqa: ANN401  # what JSON says
        done = CliRunner().invoke(app, [*map(str, arguments), "--json"])
        assert done.exit_code == expected, done.output
        return json.loads(done.stdout) if done.stdout.startswith("{") else done.output

    yield run_command
    get_settings.cache_clear()


@pytest.fixture
def tenant() -> str:
    """A tenant of this test alone: others leave jobs of theirs in the same database."""
    return f"ward-{uuid.uuid4().hex[:8]}"


@pytest.fixture
def accept(engine: Engine, tenant: str) -> Iterator[Callable[[], uuid.UUID]]:
    """Return a function that accepts a job for which MedNeXt is installed, as the gateway does."""
    version = ModelVersion(
        stage=StageName.MEDNEXT, digest="e" * 64, version="1", weights_profile="demo", is_active=True
    )
    with transaction(engine) as session:
        session.merge(Policy(id="policy-of-tests", name="tests", digest="0", document={}))
        session.merge(version)
    yield lambda: accept_job(engine, tenant)
    with transaction(engine) as session:
        session.execute(delete(ModelVersion).where(ModelVersion.digest == "e" * 64))
        session.execute(delete(Pause))
        session.execute(delete(Job).where(Job.tenant == tenant))


def accept_job(engine: Engine, tenant: str) -> uuid.UUID:
    job_id = uuid.uuid4()
    stored = StoredObject(f"uploads/{job_id}", 9, "a" * 64)
    new = NewJob(
        id=job_id,
        tenant=tenant,
        priority=5,
        options={"models": ["mednext"]},
        policy_id="policy-of-tests",
        weights_profile="demo",
        time_limit=timedelta(hours=2),
        upload=StoredUpload(stored, UploadKind.ZIP, "application/zip"),
    )
    with transaction(engine) as session:
        add_job(session, new)
    return job_id


def lease(engine: Engine, job_id: uuid.UUID, stage: StageName) -> Lease:
    with transaction(engine) as session:
        taken = claim(session, job_id, stage, worker="tests", duration=timedelta(seconds=30))
    assert taken is not None
    return taken


def read(engine: Engine, job_id: uuid.UUID) -> None:
    taken = lease(engine, job_id, StageName.INTAKE)
    with transaction(engine) as session:
        complete_stage(session, taken, StageOutput(), ())


def fail(engine: Engine, job_id: uuid.UUID, stage: StageName) -> int:
    """Let a stage end by a defect and return the number of its letter."""
    taken = lease(engine, job_id, stage)
    problem = Problem(ProblemCode.INTERNAL_ERROR, "A defect.")
    with transaction(engine) as session:
        fail_stage(session, taken, problem, cause="defect", evidence={"type": "ZeroDivisionError"})
    with transaction(engine) as session:
        return session.scalars(select(DeadLetter.id).where(DeadLetter.job_id == job_id)).one()


def fail_quietly(engine: Engine, job_id: uuid.UUID) -> int:
    """Leave a letter of a job that has not ended, and return its number."""
    with transaction(engine) as session:
        letter = DeadLetter(job_id=job_id, stage=StageName.MEDNEXT, attempt=1, cause="defect", evidence={})
        session.add(letter)
    return letter.id


def fetch_run(engine: Engine, job_id: uuid.UUID, stage: StageName) -> StageRun:
    with transaction(engine) as session:
        return session.get_one(StageRun, (job_id, stage))


def fetch_state(engine: Engine, job_id: uuid.UUID) -> JobState:
    with transaction(engine) as session:
        return session.get_one(Job, job_id).state


def list_deeds(engine: Engine, tenant: str) -> list[str]:
    with transaction(engine) as session:
        query = select(AuditEntry.action).where(AuditEntry.tenant == tenant).order_by(AuditEntry.sequence)
        return list(session.scalars(query))


class TestJobs:
    def test_are_listed_by_tenant_state_stage_and_age(
        self, run: Run, engine: Engine, accept: Callable[[], uuid.UUID], tenant: str
    ) -> None:
        waiting, read_one, failed = accept(), accept(), accept()
        read(engine, read_one)
        fail(engine, failed, StageName.INTAKE)
        with transaction(engine) as session:
            session.execute(update(Job).where(Job.id == waiting).values(created_at=Job.created_at - timedelta(hours=3)))

        def find(*filters: str) -> set[str]:
            return {item["id"] for item in run(jobs.app, "list", "--tenant", tenant, *filters)["items"]}

        assert find() == {str(waiting), str(read_one), str(failed)}
        assert find("--in", "failed") == {str(failed)}
        assert find("--in", "queued", "--in", "running") == {str(waiting), str(read_one)}
        assert find("--stage", "mednext") == {str(read_one)}
        assert find("--stage", "intake") == {str(waiting), str(failed)}
        assert find("--older-than", "2h") == {str(waiting)}
        assert find("--newer-than", "2h") == {str(read_one), str(failed)}
        assert run(jobs.app, "list", "--tenant", tenant, "--limit", 1)["count"] == 3

    def test_are_shown_with_stages_events_and_letters(
        self, run: Run, engine: Engine, accept: Callable[[], uuid.UUID]
    ) -> None:
        job_id = accept()
        letter = fail(engine, job_id, StageName.INTAKE)
        shown = run(jobs.app, "show", job_id)
        assert (shown["state"], shown["dead_letters"], shown["objects"]) == ("failed", [letter], 1)
        assert {stage["name"]: stage["state"] for stage in shown["stages"]}["intake"] == "failed"
        assert [event["state"] for event in shown["events"]][-1] == "failed"

    def test_that_are_not_there_are_told(self, run: Run) -> None:
        assert "no job of this id" in run(jobs.app, "show", uuid.uuid4(), expected=1)

    def test_ages_are_read_and_written(self) -> None:
        assert [parse_age(text) for text in ("90s", "15m", "2d")] == [
            timedelta(seconds=90),
            timedelta(minutes=15),
            timedelta(days=2),
        ]
        assert [write_age(timedelta(seconds=s)) for s in (0, 119, 120, 7200, 200_000)] == [
            "0s",
            "119s",
            "2m",
            "2h",
            "2d",
        ]
        with pytest.raises(BadParameter):
            parse_age("soon")


class TestDeadLetters:
    def test_are_listed_and_shown_with_their_evidence(
        self, run: Run, engine: Engine, accept: Callable[[], uuid.UUID], tenant: str
    ) -> None:
        letter = fail(engine, accept(), StageName.INTAKE)
        (listed,) = run(dead_letters.app, "list", "--tenant", tenant, "--stage", "intake")["items"]
        assert listed == run(dead_letters.app, "show", letter)
        assert (listed["id"], listed["evidence"]) == (letter, {"type": "ZeroDivisionError"})

    def test_of_a_failed_job_make_it_go_on_and_are_gone(
        self, run: Run, engine: Engine, accept: Callable[[], uuid.UUID], tenant: str
    ) -> None:
        job_id = accept()
        letter = fail(engine, job_id, StageName.INTAKE)
        told = run_once(dead_letters.app, "retry", letter)
        assert told[str(letter)] == {"job": str(job_id), "retried": True, "runs_as": str(job_id)}
        assert fetch_state(engine, job_id) is JobState.QUEUED
        assert run(dead_letters.app, "list", "--tenant", tenant)["items"] == []
        assert list_deeds(engine, tenant) == ["ctclip dead-letters retry"]
        assert "no dead letter" in run(dead_letters.app, "retry", letter, expected=1)

    def test_of_a_job_with_a_result_leave_it_and_read_the_study_anew(
        self, run: Run, engine: Engine, accept: Callable[[], uuid.UUID], tenant: str
    ) -> None:
        job_id = accept()
        read(engine, job_id)
        letter = fail(engine, job_id, StageName.MEDNEXT)
        end_with_result(engine, job_id)
        told = run_once(dead_letters.app, "retry", letter)[str(letter)]
        assert told["runs_as"] != str(job_id)
        assert fetch_state(engine, job_id) is JobState.COMPLETED_PARTIAL
        assert fetch_state(engine, uuid.UUID(told["runs_as"])) is JobState.QUEUED

    def test_of_one_job_run_it_again_once_and_not_before_it_has_ended(
        self, run: Run, engine: Engine, accept: Callable[[], uuid.UUID], tenant: str
    ) -> None:
        job_id = accept()
        letter = fail(engine, job_id, StageName.INTAKE)
        with transaction(engine) as session:
            other = DeadLetter(job_id=job_id, stage=StageName.INTAKE, attempt=1, cause="defect", evidence={})
            session.add(other)
        told = run_once(dead_letters.app, "retry", letter, other.id)
        assert told[str(letter)] == told[str(other.id)]
        assert run(jobs.app, "list", "--tenant", tenant)["count"] == 1
        again = fail_quietly(engine, job_id)
        assert "come back" in run(dead_letters.app, "retry", again, expected=1)[str(again)]["why"]

    def test_of_a_cancelled_job_are_not_retried(
        self, run: Run, engine: Engine, accept: Callable[[], uuid.UUID]
    ) -> None:
        job_id = accept()
        letter = fail(engine, job_id, StageName.INTAKE)
        with transaction(engine) as session:
            session.get_one(Job, job_id).state = JobState.CANCELLED
        assert "discard" in run(dead_letters.app, "retry", letter, expected=1)[str(letter)]["why"]

    def test_are_put_away_and_the_job_stays(
        self, run: Run, engine: Engine, accept: Callable[[], uuid.UUID], tenant: str
    ) -> None:
        job_id = accept()
        letter = fail(engine, job_id, StageName.INTAKE)
        run_once(dead_letters.app, "discard", letter)
        assert fetch_state(engine, job_id) is JobState.FAILED
        assert list_deeds(engine, tenant) == ["ctclip dead-letters discard"]

    def test_need_a_number_or_all_of_them(self, run: Run) -> None:
        run(dead_letters.app, "retry", expected=2)
        run(dead_letters.app, "discard", 1, "--all", expected=2)


def run_once(app: Typer, *arguments: object) -> Any:  # noqa: ANN401  # what JSON says
    """Run a command that changes something, once."""
    done = CliRunner().invoke(app, [*map(str, arguments), "--json"])
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def end_with_result(engine: Engine, job_id: uuid.UUID) -> None:
    taken = lease(engine, job_id, StageName.FUSION)
    with transaction(engine) as session:
        complete_stage(session, taken, StageOutput(), ())


class TestPausedModels:
    def test_are_not_planned_and_jobs_that_wait_go_on_without(
        self, run: Run, engine: Engine, accept: Callable[[], uuid.UUID]
    ) -> None:
        waits_for_intake, waits_for_model = accept(), accept()
        read(engine, waits_for_model)
        assert run_once(models.app, "pause", "mednext")["skipped"] >= 1
        read(engine, waits_for_intake)
        planned = accept()
        for job_id in (waits_for_intake, waits_for_model, planned):
            mednext = fetch_run(engine, job_id, StageName.MEDNEXT)
            assert (mednext.state, mednext.reason) == (StageState.SKIPPED, SkipReason.MODEL_PAUSED)
        for job_id in (waits_for_intake, waits_for_model):
            assert fetch_run(engine, job_id, StageName.FUSION).state is StageState.READY

    def test_finish_what_runs_and_are_not_tried_again(
        self, run: Run, engine: Engine, accept: Callable[[], uuid.UUID]
    ) -> None:
        job_id = accept()
        read(engine, job_id)
        taken = lease(engine, job_id, StageName.MEDNEXT)
        run_once(models.app, "pause", "mednext")
        assert fetch_run(engine, job_id, StageName.MEDNEXT).state is StageState.LEASED
        with transaction(engine) as session:
            complete_stage(session, taken, StageOutput(), ())
        assert fetch_run(engine, job_id, StageName.MEDNEXT).state is StageState.SUCCEEDED
        with transaction(engine) as session:
            publish_stages(session, job_id, [StageName.FUSION], priority=5)
        assert skip_paused_stages(engine) == 0

    def test_run_again_once_they_are_resumed_and_each_deed_is_told(
        self, run: Run, engine: Engine, accept: Callable[[], uuid.UUID]
    ) -> None:
        run_once(models.app, "pause", "mednext", "--reason", "it sees ghosts")
        assert run(models.app, "paused")["items"][0]["reason"] == "it sees ghosts"
        run(models.app, "pause", "mednext", expected=1)
        run_once(models.app, "resume", "mednext")
        run(models.app, "resume", "mednext", expected=1)
        assert fetch_run(engine, accept(), StageName.MEDNEXT).state is StageState.WAITING
        assert list_deeds(engine, "default")[-2:] == ["ctclip models pause mednext", "ctclip models resume mednext"]

    def test_must_be_models(self, run: Run) -> None:
        run(models.app, "pause", "intake", expected=2)
