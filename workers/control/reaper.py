"""The reaper: takes back lapsed leases, publishes what is due, and ends what is past its deadline."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Sequence
from datetime import timedelta

from celery import Celery
from sqlalchemy import ColumnElement, Engine, Row, and_, func, or_, select
from sqlalchemy.orm import Session

from shared.access_tables import Allowance
from shared.database import transaction
from shared.endings import end_job, lock_open_job
from shared.errors import StaleLease, TransientFault
from shared.metrics import LEASES_REAPED, STAGES_ENDED
from shared.outbox import LOOK_AT_UNSENT_AFTER, publish_stages
from shared.problems import Problem, ProblemCode
from shared.settings import Settings
from shared.stages import STAGES, StageName
from shared.states import JobState, StageState
from shared.tables import IdempotencyKey, Job, Outbox, StageRun
from shared.telemetry import get_logger
from workers.control.broker_room import BrokerRoom
from workers.control.pausing import skip_paused_stages
from workers.control.relay import LOST_AFTER
from workers.runtime.completion import fail_stage, retry_stage
from workers.runtime.lease import Lease, require_lapsed

_log = get_logger()
_BATCH = 200
_INTERVAL_S = 1.0
_ALLOWANCE_KEPT = timedelta(hours=1)
_FORGET_EVERY_S = 60.0


class Reaper:
    """Looks at the database once a second. Any number may run: every step is a guarded update."""

    def __init__(self, engine: Engine, settings: Settings, app: Celery | None = None) -> None:
        self._engine = engine
        self._settings = settings
        self._room = None if app is None else BrokerRoom(app, settings.broker_window)
        self._forgets_next_at = 0.0

    def run(self, stopped: threading.Event) -> None:
        """Reap until told to stop; a fault of the database is waited out."""
        while not stopped.wait(_INTERVAL_S):
            try:
                self.reap()
            except TransientFault as fault:
                _log.warning("reaper waits", reason=str(fault))

    def reap(self) -> None:
        """Do everything once."""
        self._take_back_lapsed_leases()
        skip_paused_stages(self._engine)
        self._publish_due_stages()
        self._fail_late_jobs()
        if time.monotonic() >= self._forgets_next_at:
            self._forget_old_keys()
            self._forgets_next_at = time.monotonic() + _FORGET_EVERY_S

    def _take_back_lapsed_leases(self) -> None:
        with transaction(self._engine) as session:
            lapsed = _find_lapsed_leases(session)
        for run in lapsed:
            lease = Lease(run.job_id, run.stage, _token(run), run.attempt, run.leased_by or "")
            try:
                with transaction(self._engine) as session:
                    self._end_lapsed(session, lease, run.lost_workers)
            except StaleLease:
                continue  # the worker came back in time, or another reaper was faster
            LEASES_REAPED.labels(stage=run.stage).inc()
            _log.warning("lease lapsed", job_id=str(run.job_id), stage=run.stage, worker=run.leased_by)

    def _end_lapsed(self, session: Session, lease: Lease, lost_before: int) -> None:
        require_lapsed(session, lease)
        if lost_before < self._settings.lost_worker_limit:
            retry_stage(session, lease, counter="lost_workers", delay=timedelta(0), avoid=False)
            return
        problem = Problem(
            ProblemCode.WORKER_LOST,
            f"The stage {lease.stage} lost its worker {lost_before + 1} times.",
            {"stage": lease.stage},
        )
        fail_stage(session, lease, problem, cause="worker_lost", evidence={"worker": lease.worker})
        STAGES_ENDED.labels(stage=lease.stage, state=StageState.FAILED, code=problem.code).inc()

    def _publish_due_stages(self) -> None:
        """Publish retries that are due, and messages that the broker seems to have lost."""
        empty = self._find_empty_queues()
        with transaction(self._engine) as session:
            due = _find_due_stages(session, empty)
            unsent = _find_unsent(session, [run.job_id for run, _ in due])
            for run, priority in due:
                if (run.job_id, run.stage) in unsent:  # the relay sends it in its turn
                    run.look_again_at = func.now() + LOOK_AT_UNSENT_AFTER
                else:
                    publish_stages(session, run.job_id, [run.stage], priority=priority)

    def _find_empty_queues(self) -> Sequence[StageName]:
        """Return the stages of which the broker has no message: what was sent of them is in work, or lost."""
        if self._room is None:
            return ()
        try:
            return [stage for stage in STAGES if self._room.is_empty(stage)]
        except TransientFault:
            return ()  # while it is away nobody knows, and messages could not be sent

    def _fail_late_jobs(self) -> None:
        with transaction(self._engine) as session:
            late = session.scalars(
                select(Job.id).where(Job.finished_at.is_(None), Job.deadline_at < func.now()).limit(_BATCH)
            ).all()
        for job_id in late:
            with transaction(self._engine) as session:
                self._fail_late_job(session, job_id)

    def _fail_late_job(self, session: Session, job_id: uuid.UUID) -> None:
        job = lock_open_job(session, job_id)
        if job is None:
            return
        limit_s = int(self._settings.job_time_limit.total_seconds())
        detail = f"The job did not end within {limit_s} s of its submission."
        end_job(session, job, JobState.FAILED, Problem(ProblemCode.DEADLINE_EXCEEDED, detail, {"limit_s": limit_s}))

    def _forget_old_keys(self) -> None:
        with transaction(self._engine) as session:
            session.query(IdempotencyKey).where(
                IdempotencyKey.created_at < func.now() - self._settings.idempotency_retention,
                or_(IdempotencyKey.job_id.is_not(None), IdempotencyKey.reserved_until < func.now()),
            ).delete()
            # Who has asked for nothing for so long has its whole allowance, with a row or without.
            session.query(Allowance).where(Allowance.spent_until < func.now() - _ALLOWANCE_KEPT).delete()


def _find_lapsed_leases(session: Session) -> Sequence[StageRun]:
    query = (
        select(StageRun)
        .where(StageRun.state == StageState.LEASED, StageRun.lease_expires_at < func.now())
        .limit(_BATCH)
    )
    return session.scalars(query).all()


def _find_due_stages(session: Session, empty: Sequence[StageName]) -> Sequence[Row[StageRun, int]]:
    """Lock and return ready stages that nobody has acted on in time; those of `empty` queues are not waited for."""
    # An older version says nothing of when to look, and neither does a retry: then what was published long ago is due.
    was_long_ago = or_(StageRun.published_at.is_(None), StageRun.published_at < func.now() - LOST_AFTER)
    is_silent = and_(StageRun.look_again_at.is_(None), was_long_ago)
    is_lost = and_(StageRun.stage.in_(empty), StageRun.published_at < func.now() - LOST_AFTER)
    # One query each: of one with OR between them the planner reads every ready stage.
    conditions = (StageRun.look_again_at <= func.now(), is_silent, *([is_lost] if empty else []))
    found = [row for condition in conditions for row in _lock_ready(session, condition)]
    return list({(row.StageRun.job_id, row.StageRun.stage): row for row in found}.values())


def _lock_ready(session: Session, condition: ColumnElement[bool]) -> Sequence[Row[StageRun, int]]:
    query = (
        select(StageRun, Job.priority)
        .join(Job)
        .where(StageRun.state == StageState.READY, StageRun.next_attempt_at <= func.now(), condition)
        .order_by(Job.turn_at, StageRun.ready_at)
        .limit(_BATCH)
        .with_for_update(of=StageRun, skip_locked=True)
    )
    return session.execute(query).all()


def _find_unsent(session: Session, job_ids: Sequence[uuid.UUID]) -> set[tuple[uuid.UUID, StageName]]:
    """Return the stages of jobs whose message still waits to be sent."""
    rows = session.execute(select(Outbox.job_id, Outbox.stage).where(Outbox.job_id.in_(job_ids)))
    return {(row.job_id, row.stage) for row in rows}


def _token(run: StageRun) -> uuid.UUID:
    assert run.lease_token is not None  # a leased stage has a token; the state and the token change together
    return run.lease_token
