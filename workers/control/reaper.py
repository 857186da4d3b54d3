"""The reaper: takes back lapsed leases, publishes what is due, and ends what is past its deadline."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Sequence
from datetime import timedelta

from sqlalchemy import Engine, Row, func, or_, select
from sqlalchemy.orm import Session

from shared.access_tables import Allowance
from shared.database import transaction
from shared.endings import end_job, lock_open_job
from shared.errors import StaleLease, TransientFault
from shared.metrics import LEASES_REAPED
from shared.outbox import publish_stages
from shared.problems import Problem, ProblemCode
from shared.settings import Settings
from shared.states import JobState, StageState
from shared.tables import IdempotencyKey, Job, StageRun
from shared.telemetry import get_logger
from workers.runtime.completion import fail_stage, retry_stage
from workers.runtime.lease import Lease

_log = get_logger()
_BATCH = 200
_INTERVAL_S = 1.0
# A ready stage whose message was lost is published again after this, then after twice as long, and so on.
_REPUBLISH_AFTER = timedelta(seconds=15)
_LONGEST_DOUBLING = 8
_ALLOWANCE_KEPT = timedelta(hours=1)


class Reaper:
    """Looks at the database once a second. Any number may run: every step is a guarded update."""

    def __init__(self, engine: Engine, settings: Settings) -> None:
        self._engine = engine
        self._settings = settings

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
        self._publish_due_stages()
        self._fail_late_jobs()
        self._forget_old_keys()

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
        if lost_before < self._settings.lost_worker_limit:
            retry_stage(session, lease, counter="lost_workers", delay=timedelta(0), avoid=False)
            return
        problem = Problem(
            ProblemCode.WORKER_LOST,
            f"The stage {lease.stage} lost its worker {lost_before + 1} times.",
            {"stage": lease.stage},
        )
        fail_stage(session, lease, problem, cause="worker_lost", evidence={"worker": lease.worker})

    def _publish_due_stages(self) -> None:
        """Publish retries that are due, and messages that the broker seems to have lost."""
        with transaction(self._engine) as session:
            for run, priority in _find_due_stages(session):
                publish_stages(session, run.job_id, [run.stage], priority=priority)

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


def _find_due_stages(session: Session) -> Sequence[Row[StageRun, int]]:
    doublings = func.least(StageRun.publications - 1, _LONGEST_DOUBLING)
    patience = _REPUBLISH_AFTER * func.power(2, doublings)
    query = (
        select(StageRun, Job.priority)
        .join(Job)
        .where(StageRun.state == StageState.READY, StageRun.next_attempt_at <= func.now())
        .where(or_(StageRun.published_at.is_(None), StageRun.published_at < func.now() - patience))
        .order_by(Job.priority.desc(), StageRun.ready_at)
        .limit(_BATCH)
        .with_for_update(of=StageRun, skip_locked=True)
    )
    return session.execute(query).all()


def _token(run: StageRun) -> uuid.UUID:
    assert run.lease_token is not None  # a leased stage has a token; the state and the token change together
    return run.lease_token
