"""The state machine of stages and jobs, on a real database: any order of events keeps its promises.

Claims, heartbeats, lapses, completions, crashes, lost answers, failures, releases, cancellations and deadlines come in
any order, from workers that hold the lease and from those that no longer do. After each step the rows are held
against what must be true. In the end one honest worker, which acts on messages alone, brings every job to its end.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    MultipleResults,
    RuleBasedStateMachine,
    invariant,
    multiple,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import Engine, delete, func, select, update
from sqlalchemy.orm import Session

from gateway.jobs.cancelling import cancel_job
from gateway.jobs.errors import JobAlreadyFinished
from gateway.tenants import Tenant
from shared.database import transaction
from shared.errors import CommitInDoubt, Defect, InputProblem, StaleLease, TransientFault, Unanswerable
from shared.problems import ProblemCode
from shared.settings import Settings
from shared.stages import StageName
from shared.states import JobState, StageState
from shared.tables import DeadLetter, Event, Feature, Job, Outbox, Result, StageRun
from tests.lost_answers import lost_answer_to_commit
from tests.workers.control.own_database import own_database
from tests.workers.runtime.conftest import add_job
from workers.control.reaper import Reaper
from workers.runtime.completion import complete_stage
from workers.runtime.lease import Lease, claim, postpone, release, renew
from workers.runtime.outcomes import end_after_error
from workers.runtime.stage import StageOutput

TENANT = Tenant("default")
RUNNING_STAGES = (StageName.INTAKE, StageName.CT_CLIP, StageName.MEDNEXT, StageName.FUSION)
WORKERS = ("worker-1", "worker-2")
DURATION = timedelta(seconds=30)
LONG_AGO = timedelta(hours=2)
MOST_ROUNDS = 20
LOST_ANSWER = CommitInDoubt(ProblemCode.DATABASE_UNAVAILABLE, "the answer to a commit was lost")
ERRORS: tuple[Exception, ...] = (
    TransientFault(ProblemCode.STORAGE_UNAVAILABLE, "down"),
    Defect("broken"),
    MemoryError(),
    InputProblem(ProblemCode.NO_LUNGS_FOUND, "None."),
    Unanswerable(ProblemCode.NO_MODEL_ANSWERED, "None."),
)


class Crash(Exception):
    """A worker dies before its commit."""


class StageMachine(RuleBasedStateMachine):
    """One job, two workers, and what a test knows of both without asking the database."""

    leases: Bundle[Lease] = Bundle("leases")
    """Every lease that was ever given, lost ones too."""

    def __init__(self, engine: Engine, limits: Settings) -> None:
        super().__init__()
        self.engine = engine
        self.limits = limits
        self.reaper = Reaper(engine, limits)
        self.job_id = add_job(engine, limits, models=(StageName.CT_CLIP, StageName.MEDNEXT))
        self.holders: dict[StageName, Lease] = {}
        self.lapsed: set[StageName] = set()
        self.winners: dict[StageName, Lease] = {}
        self.releases: Counter[StageName] = Counter()
        self.settled: dict[StageName, StageState] = {}
        self.ending: JobState | None = None

    # What workers do

    @rule(target=leases, stage=st.sampled_from(RUNNING_STAGES), worker=st.sampled_from(WORKERS))
    def take(self, stage: StageName, worker: str) -> Lease | MultipleResults[Lease]:
        """Any message, first or repeated, leads here: who gets the lease is alone with the stage."""
        with transaction(self.engine) as session:
            lease = claim(session, self.job_id, stage, worker=worker, duration=DURATION)
        if lease is None:
            return multiple()
        assert stage not in self.holders, "a stage runs twice at once"
        self.holders[stage] = lease
        return lease

    @rule(lease=leases)
    def beat(self, lease: Lease) -> None:
        is_ours = self.holders.get(lease.stage) == lease
        with transaction(self.engine) as session:
            assert renew(session, lease, DURATION) is is_ours
        if is_ours:
            self.lapsed.discard(lease.stage)

    @rule(lease=leases)
    def complete(self, lease: Lease) -> None:
        if self._end(lease, lambda: self._commit_completion(lease)):
            self.winners[lease.stage] = lease

    @rule(lease=leases)
    def die_before_the_commit(self, lease: Lease) -> None:
        with pytest.raises((Crash, StaleLease)):
            self._die_in_completion(lease)

    @rule(lease=leases)
    def lose_the_answer_to_the_commit(self, lease: Lease) -> None:
        """The worker takes it for a passing fault, and must not undo what stands."""

        def complete_unheard() -> None:
            with (
                lost_answer_to_commit(lambda row: isinstance(row, Feature | Result)),
                pytest.raises(CommitInDoubt),
            ):
                self._commit_completion(lease)
            with pytest.raises(StaleLease):
                end_after_error(self.engine, self.limits, lease, LOST_ANSWER)

        if self._end(lease, complete_unheard):
            self.winners[lease.stage] = lease

    @rule(lease=leases)
    def complete_twice_at_once(self, lease: Lease) -> None:
        with ThreadPoolExecutor(2) as pool:
            completions = [pool.submit(self._commit_completion, lease) for _ in range(2)]
        errors = [completion.exception() for completion in completions]
        assert all(error is None or isinstance(error, StaleLease) for error in errors), errors
        is_ours = self.holders.get(lease.stage) == lease
        assert errors.count(None) == is_ours
        if is_ours:
            self._forget(lease.stage)
            self.winners[lease.stage] = lease

    @rule(lease=leases, error=st.sampled_from(ERRORS))
    def fail(self, lease: Lease, error: Exception) -> None:
        self._end(lease, lambda: end_after_error(self.engine, self.limits, lease, error))

    @rule(lease=leases)
    def hand_back(self, lease: Lease) -> None:
        is_ours = self.holders.get(lease.stage) == lease
        with transaction(self.engine) as session:
            assert release(session, lease) is is_ours
        if is_ours:
            self._forget(lease.stage)
            self.releases[lease.stage] += 1

    @rule(stage=st.sampled_from(RUNNING_STAGES))
    def put_off(self, stage: StageName) -> None:
        with transaction(self.engine) as session:
            postpone(session, self.job_id, stage, timedelta(minutes=1))

    # What time, people and the control loop do

    @rule(passed=st.sampled_from([timedelta(0), timedelta(seconds=11)]))
    def come_due(self, passed: timedelta) -> None:
        self._change(StageRun.state == StageState.READY, next_attempt_at=func.now() - passed)

    @rule(stage=st.sampled_from(RUNNING_STAGES))
    def let_lapse(self, stage: StageName) -> None:
        if stage in self.holders:
            self.lapsed.add(stage)
        is_leased = StageRun.state == StageState.LEASED
        self._change((StageRun.stage == stage) & is_leased, lease_expires_at=func.now() - timedelta(seconds=1))

    @rule()
    def reap(self) -> None:
        self.reaper.reap()
        for stage in self.lapsed & self.holders.keys():
            self._forget(stage)

    @precondition(lambda self: self.winners)
    @rule(is_meant=st.sampled_from([False, False, False, True]))
    def cancel(self, *, is_meant: bool) -> None:
        if not is_meant:
            return
        try:
            with transaction(self.engine) as session:
                cancel_job(session, TENANT, self.job_id)
        except JobAlreadyFinished:
            assert self.ending is not None

    @precondition(lambda self: len(self.winners) > 1)
    @rule(is_meant=st.sampled_from([False, False, False, True]))
    def run_late(self, *, is_meant: bool) -> None:
        if is_meant:
            with transaction(self.engine) as session:
                late = update(Job).where(Job.id == self.job_id).values(deadline_at=func.now() - timedelta(seconds=1))
                session.execute(late)
            self.reap()

    # What must be true whatever came before

    @invariant()
    def keeps_its_promises(self) -> None:
        with transaction(self.engine) as session:
            job = session.get_one(Job, self.job_id)
            if job.state.is_terminal:
                for stage in list(self.holders):
                    self._forget(stage)
            runs = session.scalars(select(StageRun).where(StageRun.job_id == self.job_id)).all()
            self._check_fencing(session, {run.stage: run for run in runs})
            self._check_answers(session, job)
        for run in runs:
            self._check_run(run, job)
        self._check_ending(job, {run.state for run in runs})

    def _check_fencing(self, session: Session, runs: dict[StageName, StageRun]) -> None:
        leased = {stage: run.lease_token for stage, run in runs.items() if run.state is StageState.LEASED}
        assert leased == {stage: lease.token for stage, lease in self.holders.items()}
        assert not any(run.lease_token for run in runs.values() if run.state is not StageState.LEASED)
        letters = session.scalars(select(DeadLetter.stage).where(DeadLetter.job_id == self.job_id)).all()
        assert len(letters) == len(set(letters))

    def _check_answers(self, session: Session, job: Job) -> None:
        """One answer of each stage, by the holder of the lease under which it ended, and one result."""
        features = session.scalars(select(Feature).where(Feature.job_id == self.job_id)).all()
        written = {feature.stage: feature.values["attempt"] for feature in features}
        won = {stage: lease.attempt for stage, lease in self.winners.items()}
        assert written == {stage: attempt for stage, attempt in won.items() if stage is not StageName.FUSION}
        results = session.scalars(select(Result).where(Result.job_id == self.job_id)).all()
        expected = [won[StageName.FUSION]] if job.state.has_result else []
        assert [result.document["attempt"] for result in results] == expected
        ended = select(func.count()).where(
            Event.job_id == self.job_id,
            Event.type == "job.state",
            Event.state.not_in((JobState.QUEUED, JobState.RUNNING)),
        )
        assert session.scalar(ended) == job.state.is_terminal

    def _check_run(self, run: StageRun, job: Job) -> None:
        assert run.transient_faults <= self.limits.transient_retry_limit
        assert run.defects <= self.limits.defect_retry_limit
        assert run.lost_workers <= self.limits.lost_worker_limit
        given_back = run.transient_faults + run.defects + run.lost_workers + self.releases[run.stage]
        assert run.attempt <= 1 + given_back, "more attempts than its budgets allow"
        before = self.settled.get(run.stage)
        assert before is None or run.state is before, "an ended stage moved"
        if run.state.is_terminal:
            self.settled[run.stage] = run.state
        assert run.state.is_terminal or not job.state.is_terminal or job.state.has_result

    def _check_ending(self, job: Job, states: set[StageState]) -> None:
        assert self.ending is None or job.state is self.ending, "an ended job moved"
        assert (job.finished_at is not None) is job.state.is_terminal
        if job.state.is_terminal:
            self.ending = job.state
            assert not states & {StageState.WAITING, StageState.READY, StageState.LEASED}
        else:
            assert states & {StageState.READY, StageState.LEASED}, "nothing would ever move this job"

    def teardown(self) -> None:
        """Let every lease lapse and every wait pass, and one worker do what messages say: the job ends."""
        for _ in range(MOST_ROUNDS):
            if self.ending is not None:
                return
            for stage in RUNNING_STAGES:
                self.let_lapse(stage)
            ready = StageRun.state == StageState.READY
            self._change(ready, **dict.fromkeys(("next_attempt_at", "published_at"), func.now() - LONG_AGO))
            self._change(ready & StageRun.look_again_at.is_not(None), look_again_at=func.now() - LONG_AGO)
            self.reap()
            self.keeps_its_promises()
            for stage in self._take_messages():
                lease = self.take(stage, "worker-3")
                if isinstance(lease, Lease):
                    self.complete(lease)
                self.keeps_its_promises()
        raise AssertionError("the job does not end")

    def _take_messages(self) -> Iterator[StageName]:
        with transaction(self.engine) as session:
            yield from session.scalars(delete(Outbox).where(Outbox.job_id == self.job_id).returning(Outbox.stage)).all()

    def _end(self, lease: Lease, act: Callable[[], None]) -> bool:
        """Do what ends a lease: it works for its holder, and for nobody else."""
        is_ours = self.holders.get(lease.stage) == lease
        if not is_ours:
            with pytest.raises(StaleLease):
                act()
            return False
        act()
        self._forget(lease.stage)
        return True

    def _die_in_completion(self, lease: Lease) -> None:
        with transaction(self.engine) as session:
            complete_stage(session, lease, make_output(lease), ())
            raise Crash

    def _commit_completion(self, lease: Lease) -> None:
        with transaction(self.engine) as session:
            complete_stage(session, lease, make_output(lease), ())

    def _forget(self, stage: StageName) -> None:
        self.holders.pop(stage, None)
        self.lapsed.discard(stage)

    def _change(self, which: object, **values: object) -> None:
        with transaction(self.engine) as session:
            session.execute(update(StageRun).where(StageRun.job_id == self.job_id, which).values(**values))  # type: ignore[arg-type]  # a condition


def make_output(lease: Lease) -> StageOutput:
    """Return an answer that tells who gave it."""
    if lease.stage is StageName.FUSION:
        return StageOutput(
            rows=[Result(document={"attempt": lease.attempt}, policy_id="policy-of-tests", probability=0.5)]
        )
    return StageOutput(features={"attempt": lease.attempt})


@pytest.fixture(scope="module")
def alone(settings: Settings) -> Iterator[tuple[Settings, Engine]]:
    """A database of its own, and small budgets."""
    budgets = {"transient_retry_limit": 2, "defect_retry_limit": 1, "lost_worker_limit": 1}
    with own_database(settings) as (own, engine):
        yield own.model_copy(update=budgets), engine


class TestAnyOrderOfEvents:
    def test_keeps_the_promises_of_the_state_machine(self, alone: tuple[Settings, Engine]) -> None:
        limits, engine = alone
        run_state_machine_as_test(
            lambda: StageMachine(engine, limits),  # type: ignore[arg-type]  # anything that makes a machine will do
            settings=hypothesis_settings(
                max_examples=15,
                stateful_step_count=25,
                deadline=None,
                suppress_health_check=list(HealthCheck),
            ),
        )
