"""Jobs that only validate, and jobs that are split, on a real database: what is written, and that it happens once."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import timedelta

import pytest
from sqlalchemy import Engine, func, select

from shared.acceptance import NewJob, StoredUpload, add_job
from shared.artefacts import ArtefactKind, UploadKind
from shared.database import transaction
from shared.errors import StaleLease, TransientFault
from shared.planning import plan_stages
from shared.problems import Problem, ProblemCode
from shared.settings import Settings
from shared.stages import MODELS, WEIGHTED_STAGES, SkipReason, StageName
from shared.states import JobState, StageState
from shared.storage import ObjectStore, StoredObject
from shared.tables import Artefact, Event, Job, Outbox, Policy, StageRun
from tests.lost_answers import lost_answer_to_commit
from tests.workers.runtime.test_completion import complete, fetch_job, fetch_run, lease_stage
from workers.runtime.completion import reject_study
from workers.runtime.heartbeat import Heartbeat
from workers.runtime.outcomes import end_rejected
from workers.runtime.progression import judge_ending
from workers.runtime.runner import StageRunner
from workers.runtime.stage import StageContext, StageOutput, StageWarning

UIDS = ("1.2.3", "1.2.4", "1.2.5")
MIXED = Problem(ProblemCode.MIXED_STUDIES, "The archive holds 3 studies of 2 patients.", {"patients": 2})
SPLIT = StageOutput(rejection=MIXED, split_into=UIDS)

Accept = Callable[..., uuid.UUID]


@pytest.fixture
def accept(engine: Engine) -> Accept:
    """Return a function that accepts a job with some options, as the gateway does."""

    def accept_job(**options: object) -> uuid.UUID:
        job_id = uuid.uuid4()
        with transaction(engine) as session:
            session.merge(Policy(id="policy-of-tests", name="tests", digest="0", document={}))
            session.flush()
            new = NewJob(
                id=job_id,
                tenant="hospital",
                priority=7,
                options={"models": ["mednext"], **options},
                policy_id="policy-of-tests",
                weights_profile="demo",
                time_limit=timedelta(hours=2),
                labels={"ward": "7"},
                upload=StoredUpload(StoredObject(f"uploads/{job_id}", 9, "a" * 64), UploadKind.ZIP, "application/zip"),
            )
            add_job(session, new)
        return job_id

    return accept_job


def fetch_parts(engine: Engine, job_id: uuid.UUID) -> Sequence[Job]:
    """Return the jobs that share the upload of a job."""
    with transaction(engine) as session:
        query = select(Job).join(Artefact).where(Artefact.key == f"uploads/{job_id}", Job.id != job_id)
        return session.scalars(query).all()


def split(engine: Engine, job_id: uuid.UUID, output: StageOutput = SPLIT) -> Sequence[Job]:
    end_rejected(engine, lease_stage(engine, job_id, StageName.INTAKE), MIXED, output)
    return fetch_parts(engine, job_id)


class TestAJobThatOnlyValidates:
    def test_plans_intake_alone(self) -> None:
        plans = {plan.stage: plan for plan in plan_stages(WEIGHTED_STAGES, None, validates_only=True)}
        assert set(plans) == set(StageName)
        assert plans[StageName.INTAKE].state is StageState.READY
        for stage in (*WEIGHTED_STAGES, StageName.FUSION):
            assert (plans[stage].state, plans[stage].reason) == (StageState.SKIPPED, SkipReason.VALIDATE_ONLY)
        assert plans[StageName.DELIVERY].reason is SkipReason.NO_CALLBACK

    def test_is_completed_by_intake(self, engine: Engine, accept: Accept) -> None:
        job_id = accept(validate_only=True)
        complete(engine, job_id, StageName.INTAKE, StageOutput(facts={"study_uid": "1.2"}))
        job = fetch_job(engine, job_id)
        assert job.state is JobState.COMPLETED
        assert job.finished_at is not None
        assert fetch_run(engine, job_id, StageName.FUSION).reason == "validate_only"
        with transaction(engine) as session:
            assert session.scalars(select(Outbox.stage).where(Outbox.job_id == job_id)).all() == [StageName.INTAKE]

    def test_is_rejected_with_what_was_found(self, engine: Engine, accept: Accept) -> None:
        job_id = accept(validate_only=True)
        found = StageOutput(warnings=[StageWarning("gaps", {"count": 1})], facts={"hu": {"min": -1024}})
        problem = Problem(ProblemCode.NO_LUNGS_FOUND, "None.")
        end_rejected(engine, lease_stage(engine, job_id, StageName.INTAKE), problem, found)
        assert fetch_job(engine, job_id).state is JobState.REJECTED
        run = fetch_run(engine, job_id, StageName.INTAKE)
        assert (run.warnings, run.facts) == ([{"code": "gaps", "count": 1}], {"hu": {"min": -1024}})

    def test_goes_on_while_fusion_is_to_come(self) -> None:
        states = dict.fromkeys(StageName, StageState.WAITING) | {StageName.INTAKE: StageState.SUCCEEDED}
        assert judge_ending(states) is None
        skipped = dict.fromkeys((*MODELS, StageName.FUSION), StageState.SKIPPED)
        assert judge_ending({**states, **skipped}) is JobState.COMPLETED
        assert judge_ending({**states, **skipped, StageName.INTAKE: StageState.LEASED}) is None


class TestASplitJob:
    def test_is_rejected_and_names_one_job_for_each_study(self, engine: Engine, accept: Accept) -> None:
        job_id = accept(split=True)
        parts = split(engine, job_id)
        job = fetch_job(engine, job_id)
        assert job.problem is not None
        assert (job.state, job.problem["code"], job.problem["patients"]) == (JobState.REJECTED, "mixed_studies", 2)
        assert job.problem["detail"].endswith("It was split into 3 jobs, one for each study.")
        told = {entry["study_instance_uid"]: entry["id"] for entry in job.problem["jobs"]}
        assert list(told) == list(UIDS)
        assert {str(part.id) for part in parts} == set(told.values())
        assert fetch_run(engine, job_id, StageName.INTAKE).problem == job.problem

    def test_leaves_jobs_with_all_that_was_asked_of_it(self, engine: Engine, accept: Accept) -> None:
        job_id = accept(split=True, validate_only=True)
        for part in split(engine, job_id):
            uid = part.options["study_instance_uid"]
            assert part.id == uuid.uuid5(job_id, uid)
            assert part.options == {"models": ["mednext"], "validate_only": True, "study_instance_uid": uid}
            assert (part.tenant, part.priority, part.labels) == ("hospital", 7, {"ward": "7"})
            assert (part.policy_id, part.weights_profile, part.state) == ("policy-of-tests", "demo", JobState.QUEUED)
            assert part.deadline_at - part.created_at == timedelta(hours=2)
            assert fetch_run(engine, part.id, StageName.FUSION).reason == "validate_only"

    def test_that_was_retried_days_later_leaves_jobs_with_the_limit_of_its_retry(
        self, engine: Engine, accept: Accept
    ) -> None:
        job_id = accept(split=True)
        with transaction(engine) as session:
            job = session.get_one(Job, job_id)
            job.created_at -= timedelta(days=3)
            session.get_one(StageRun, (job_id, StageName.INTAKE)).ready_at = func.now()  # as a retry does
            job.deadline_at = func.now() + timedelta(hours=2)
        assert {part.deadline_at - part.created_at for part in split(engine, job_id)} == {timedelta(hours=2)}

    def test_leaves_jobs_that_will_be_read(self, engine: Engine, accept: Accept) -> None:
        for part in split(engine, accept(split=True)):
            with transaction(engine) as session:
                assert session.scalars(select(Outbox.stage).where(Outbox.job_id == part.id)).all() == [StageName.INTAKE]
                states = select(Event.state).where(Event.job_id == part.id, Event.stage.is_(None))
                assert session.scalars(states).all() == ["queued"]
            assert fetch_run(engine, part.id, StageName.INTAKE).publications == 1
            complete(engine, part.id, StageName.INTAKE)

    def test_shares_its_upload_by_rows_of_their_own(self, engine: Engine, accept: Accept) -> None:
        job_id = accept(split=True)
        split(engine, job_id)
        with transaction(engine) as session:
            rows = session.scalars(select(Artefact).where(Artefact.key == f"uploads/{job_id}")).all()
        assert len({row.job_id for row in rows}) == len(rows) == 4
        assert {(row.kind, row.sha256, row.size_bytes) for row in rows} == {(ArtefactKind.UPLOAD, "a" * 64, 9)}

    def test_without_studies_is_only_rejected(self, engine: Engine, accept: Accept) -> None:
        job_id = accept(split=True)
        assert split(engine, job_id, StageOutput(rejection=MIXED)) == []
        assert "jobs" not in (fetch_job(engine, job_id).problem or {})


class SplittingIntake:
    """Refuses every upload as that of three studies."""

    name = StageName.INTAKE

    def run(self, context: StageContext) -> StageOutput:
        return SPLIT


@pytest.fixture
def runner(engine: Engine, settings: Settings, store: ObjectStore) -> StageRunner:
    heartbeat = Heartbeat(engine, settings)
    return StageRunner([SplittingIntake()], settings, engine=engine, store=store, heartbeat=heartbeat, worker="splits")


class TestASplitThatHappensTwice:
    def test_by_two_deliveries_at_once_leaves_each_job_once(
        self, engine: Engine, accept: Accept, runner: StageRunner
    ) -> None:
        job_id = accept(split=True)
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda _: runner.run(job_id, StageName.INTAKE), range(8)))
        self._assert_split_once(engine, job_id)

    def test_by_a_stale_worker_writes_nothing(self, engine: Engine, accept: Accept) -> None:
        job_id = accept(split=True)
        lease = lease_stage(engine, job_id, StageName.INTAKE)
        for _ in range(2):
            with suppress(StaleLease), transaction(engine) as session:
                reject_study(session, lease, MIXED, SPLIT)
        self._assert_split_once(engine, job_id)

    def test_by_a_worker_whose_lease_was_taken_writes_nothing(self, engine: Engine, accept: Accept) -> None:
        job_id = accept(split=True)
        stale = lease_stage(engine, job_id, StageName.INTAKE)
        with transaction(engine) as session:
            session.get_one(StageRun, (job_id, StageName.INTAKE)).state = StageState.READY
        current = lease_stage(engine, job_id, StageName.INTAKE)
        with pytest.raises(StaleLease), transaction(engine) as session:
            reject_study(session, stale, MIXED, SPLIT)
        assert fetch_parts(engine, job_id) == []
        end_rejected(engine, current, MIXED, SPLIT)
        self._assert_split_once(engine, job_id)

    def test_after_the_answer_to_its_commit_was_lost_leaves_each_job_once(
        self, engine: Engine, accept: Accept, runner: StageRunner
    ) -> None:
        job_id = accept(split=True)
        with lost_answer_to_commit(lambda row: isinstance(row, Job)), suppress(TransientFault):
            runner.run(job_id, StageName.INTAKE)
        runner.run(job_id, StageName.INTAKE)
        self._assert_split_once(engine, job_id)

    def _assert_split_once(self, engine: Engine, job_id: uuid.UUID) -> None:
        parts = fetch_parts(engine, job_id)
        assert sorted(part.options["study_instance_uid"] for part in parts) == sorted(UIDS)
        ids = [part.id for part in parts]
        with transaction(engine) as session:
            for table in (Outbox, Event):
                counted = select(table.job_id, func.count()).where(table.job_id.in_(ids)).group_by(table.job_id)
                counts = {count for _, count in session.execute(counted)}
                assert len(counts) == 1
            assert session.scalar(select(func.count()).select_from(Outbox).where(Outbox.job_id.in_(ids))) == 3
