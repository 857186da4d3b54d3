"""How stages end, on a real database: fan-in, budgets and exactly one result."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import Engine, func, select, text

from shared.database import transaction
from shared.endings import lock_open_job
from shared.errors import Defect, InputProblem, SpoiledProcess, StaleLease, TransientFault, Unanswerable
from shared.events import record_stage_progress
from shared.problems import Problem, ProblemCode
from shared.settings import Settings
from shared.stages import MODELS, StageName
from shared.states import JobState, StageState
from shared.tables import DeadLetter, Feature, Job, Outbox, Result, StageRun
from tests.workers.runtime.conftest import JobMaker
from workers.runtime.completion import complete_stage
from workers.runtime.lease import Lease, claim
from workers.runtime.outcomes import end_after_error, end_rejected
from workers.runtime.stage import ANSWERED, StageOutput

DURATION = timedelta(seconds=30)


def lease_stage(engine: Engine, job_id: uuid.UUID, stage: StageName) -> Lease:
    with transaction(engine) as session:
        run = session.get_one(StageRun, (job_id, stage))
        run.next_attempt_at = func.now()
        run.avoid_worker = None
    with transaction(engine) as session:
        lease = claim(session, job_id, stage, worker="worker-1", duration=DURATION)
    assert lease is not None
    return lease


def complete(engine: Engine, job_id: uuid.UUID, stage: StageName, output: StageOutput | None = None) -> None:
    lease = lease_stage(engine, job_id, stage)
    with transaction(engine) as session:
        complete_stage(session, lease, output or StageOutput(), ())


def fetch_run(engine: Engine, job_id: uuid.UUID, stage: StageName) -> StageRun:
    with transaction(engine) as session:
        return session.get_one(StageRun, (job_id, stage))


def fetch_job(engine: Engine, job_id: uuid.UUID) -> Job:
    with transaction(engine) as session:
        return session.get_one(Job, job_id)


def fetch_messages(engine: Engine, job_id: uuid.UUID) -> Sequence[StageName]:
    with transaction(engine) as session:
        return session.scalars(select(Outbox.stage).where(Outbox.job_id == job_id).order_by(Outbox.id)).all()


def make_result() -> StageOutput:
    return StageOutput(rows=[Result(document={}, policy_id="policy-of-tests", probability=0.5)])


class TestFanIn:
    def test_the_end_of_intake_publishes_the_waiting_model(self, engine: Engine, make_job: JobMaker) -> None:
        job_id = make_job()
        complete(engine, job_id, StageName.INTAKE)
        assert fetch_messages(engine, job_id) == [StageName.MEDNEXT]

    def test_the_last_model_publishes_fusion_once(self, engine: Engine, make_job: JobMaker) -> None:
        models = (StageName.CT_CLIP, StageName.SUPERVISED, StageName.MEDNEXT, StageName.DIFFUSION)
        job_id = make_job(models=models)
        complete(engine, job_id, StageName.INTAKE)
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda model: complete(engine, job_id, model), models))
        assert list(fetch_messages(engine, job_id)).count(StageName.FUSION) == 1

    def test_a_missing_model_makes_the_result_partial(self, engine: Engine, make_job: JobMaker) -> None:
        job_id = make_job()
        complete(engine, job_id, StageName.INTAKE)
        complete(engine, job_id, StageName.MEDNEXT, StageOutput(features={"a": 0.25, "b": float("nan")}))
        complete(engine, job_id, StageName.FUSION, make_result())
        assert fetch_job(engine, job_id).state is JobState.COMPLETED_PARTIAL
        with transaction(engine) as session:
            assert session.get_one(Feature, (job_id, StageName.MEDNEXT)).values == {"a": 0.25}

    @pytest.mark.parametrize(
        ("answered", "state"), [(len(MODELS), JobState.COMPLETED), (len(MODELS) - 1, JobState.COMPLETED_PARTIAL)]
    )
    def test_a_model_with_nothing_to_weigh_makes_the_result_partial(
        self, engine: Engine, make_job: JobMaker, answered: int, state: JobState
    ) -> None:
        stages = (StageName.SEGMENTATION, *MODELS)
        job_id = make_job(models=stages)
        for stage in (StageName.INTAKE, *stages):
            complete(engine, job_id, stage)
        complete(engine, job_id, StageName.FUSION, replace(make_result(), facts={ANSWERED: answered}))
        assert fetch_job(engine, job_id).state is state

    def test_a_second_completion_writes_nothing(self, engine: Engine, make_job: JobMaker) -> None:
        job_id = make_job()
        lease = lease_stage(engine, job_id, StageName.INTAKE)
        for expected in (None, StaleLease):
            if expected is None:
                with transaction(engine) as session:
                    complete_stage(session, lease, StageOutput(features={"a": 1}), ())
            else:
                with pytest.raises(expected), transaction(engine) as session:
                    complete_stage(session, lease, StageOutput(features={"a": 2}), ())
        with transaction(engine) as session:
            assert session.get_one(Feature, (job_id, StageName.INTAKE)).values == {"a": 1}


class TestThreeCauses:
    def test_a_refused_study_rejects_the_job_and_cancels_the_rest(
        self, engine: Engine, settings: Settings, make_job: JobMaker
    ) -> None:
        job_id = make_job()
        lease = lease_stage(engine, job_id, StageName.INTAKE)
        end_after_error(engine, settings, lease, InputProblem(ProblemCode.NO_DICOM_IMAGES, "Only text.", files=3))
        job = fetch_job(engine, job_id)
        assert job.state is JobState.REJECTED
        assert job.problem is not None
        assert (job.problem["code"], job.problem["files"]) == ("no_dicom_images", 3)
        assert fetch_run(engine, job_id, StageName.FUSION).state is StageState.CANCELLED

    def test_a_model_that_refuses_the_volume_is_left_out(
        self, engine: Engine, settings: Settings, make_job: JobMaker
    ) -> None:
        job_id = make_job()
        complete(engine, job_id, StageName.INTAKE)
        lease = lease_stage(engine, job_id, StageName.MEDNEXT)
        end_after_error(engine, settings, lease, InputProblem(ProblemCode.NO_LUNGS_FOUND, "None."))
        assert fetch_run(engine, job_id, StageName.MEDNEXT).reason == "no_lungs_found"
        assert fetch_run(engine, job_id, StageName.FUSION).state is StageState.READY

    def test_a_late_stage_rejects_the_job_where_its_output_says_so(self, engine: Engine, make_job: JobMaker) -> None:
        job_id = make_job(models=(StageName.MEDNEXT, StageName.SEGMENTATION))
        complete(engine, job_id, StageName.INTAKE)
        problem = Problem(ProblemCode.INSUFFICIENT_COVERAGE, "Short.", {"found_mm": 100.0, "needed_mm": 145.0})
        output = StageOutput(rejection=problem, facts={"lungs": {"lung_length_mm": 100.0}})
        end_rejected(engine, lease_stage(engine, job_id, StageName.SEGMENTATION), problem, output)
        job = fetch_job(engine, job_id)
        assert job.state is JobState.REJECTED
        assert job.problem is not None
        assert (job.problem["code"], job.problem["found_mm"]) == ("insufficient_coverage", 100.0)
        assert fetch_run(engine, job_id, StageName.SEGMENTATION).facts == output.facts
        assert fetch_run(engine, job_id, StageName.MEDNEXT).state is StageState.CANCELLED

    def test_a_transient_fault_is_retried_until_the_budget_is_spent(
        self, engine: Engine, settings: Settings, make_job: JobMaker
    ) -> None:
        job_id = make_job()
        fault = TransientFault(ProblemCode.STORAGE_UNAVAILABLE, "down")
        for _ in range(settings.transient_retry_limit):
            end_after_error(engine, settings, lease_stage(engine, job_id, StageName.INTAKE), fault)
            assert fetch_run(engine, job_id, StageName.INTAKE).state is StageState.READY
        end_after_error(engine, settings, lease_stage(engine, job_id, StageName.INTAKE), fault)
        job = fetch_job(engine, job_id)
        assert job.state is JobState.FAILED
        assert job.problem is not None
        assert (job.problem["code"], job.problem["cause"]) == ("retries_exhausted", "storage_unavailable")

    def test_a_defect_is_tried_once_more_elsewhere_and_then_dead_lettered(
        self, engine: Engine, settings: Settings, make_job: JobMaker
    ) -> None:
        job_id = make_job()
        end_after_error(engine, settings, lease_stage(engine, job_id, StageName.INTAKE), Defect("broken", tensor="x"))
        assert fetch_run(engine, job_id, StageName.INTAKE).avoid_worker == "worker-1"
        end_after_error(engine, settings, lease_stage(engine, job_id, StageName.INTAKE), Defect("broken", tensor="x"))
        with transaction(engine) as session:
            letter = session.scalars(select(DeadLetter).where(DeadLetter.job_id == job_id)).one()
        assert letter.cause == "defect"
        assert (letter.evidence["message"], letter.evidence["facts"]) == ("broken", {"tensor": "x"})
        assert fetch_job(engine, job_id).state is JobState.FAILED

    def test_a_stage_that_runs_out_of_memory_twice_says_so(
        self, engine: Engine, settings: Settings, make_job: JobMaker
    ) -> None:
        job_id = make_job()
        complete(engine, job_id, StageName.INTAKE)
        error = SpoiledProcess("the device ran out of memory", ProblemCode.MEMORY_INSUFFICIENT)
        end_after_error(engine, settings, lease_stage(engine, job_id, StageName.MEDNEXT), error)
        assert fetch_run(engine, job_id, StageName.MEDNEXT).avoid_worker == "worker-1"
        end_after_error(engine, settings, lease_stage(engine, job_id, StageName.MEDNEXT), error)
        assert fetch_run(engine, job_id, StageName.MEDNEXT).reason == "memory_insufficient"

    def test_a_foreign_error_leaves_no_words_of_the_study_behind(
        self, engine: Engine, settings: Settings, make_job: JobMaker
    ) -> None:
        job_id = make_job()
        for _ in range(2):
            lease = lease_stage(engine, job_id, StageName.INTAKE)
            end_after_error(engine, settings, lease, ValueError("Doe^Jane"))
        with transaction(engine) as session:
            letter = session.scalars(select(DeadLetter).where(DeadLetter.job_id == job_id)).one()
        assert "Doe" not in str(letter.evidence)

    def test_fusion_without_enough_models_fails_the_job_and_says_why(
        self, engine: Engine, settings: Settings, make_job: JobMaker
    ) -> None:
        job_id = make_job(models=())
        complete(engine, job_id, StageName.INTAKE)
        lease = lease_stage(engine, job_id, StageName.FUSION)
        end_after_error(engine, settings, lease, Unanswerable(ProblemCode.NO_MODEL_ANSWERED, "None.", needed=1))
        job = fetch_job(engine, job_id)
        assert job.state is JobState.FAILED
        assert job.problem is not None
        assert job.problem["code"] == "no_model_answered"


class TestLocks:
    def test_progress_is_told_while_another_stage_of_the_job_ends(self, engine: Engine, make_job: JobMaker) -> None:
        """Events refer to the job: were its row locked whole, a telling and an ending stage could block each other."""
        job_id = make_job()
        with transaction(engine) as ending:
            assert lock_open_job(ending, job_id) is not None
            with transaction(engine) as telling:
                telling.execute(text("SET LOCAL lock_timeout = '500ms'"))
                record_stage_progress(telling, job_id, StageName.INTAKE, 0.5)
