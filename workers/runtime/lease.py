"""Leases: who may work on a stage, decided by one UPDATE on the database's clock.

Lock order everywhere: the job's row first, then the rows of its stages.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import ColumnElement, CursorResult, func, or_, select, update
from sqlalchemy.orm import Session

from shared.endings import lock_open_job
from shared.errors import StaleLease
from shared.events import record_job_state, record_stage_state
from shared.json_values import JsonObject
from shared.outbox import publish_stages
from shared.stages import STAGES, StageName
from shared.states import JobState, StageState
from shared.tables import Job, StageRun

# A stage that a defect ended is offered to other processes first, for this long.
AVOID_WORKER_FOR = timedelta(seconds=10)


@dataclass(frozen=True)
class Lease:
    """The right to complete one stage, until it lapses or is taken back."""

    job_id: uuid.UUID
    stage: StageName
    token: uuid.UUID
    attempt: int
    worker: str


def claim(session: Session, job_id: uuid.UUID, stage: StageName, *, worker: str, duration: timedelta) -> Lease | None:
    """Take the lease of a ready stage; None when there is nothing to do for this worker."""
    if lock_open_job(session, job_id) is None:
        return None
    _start_job(session, job_id)
    token = uuid.uuid4()
    attempt = session.scalar(
        update(StageRun)
        .where(StageRun.job_id == job_id, StageRun.stage == stage, StageRun.state == StageState.READY)
        .where(StageRun.next_attempt_at <= func.now())
        .where(
            or_(
                StageRun.avoid_worker.is_distinct_from(worker),
                StageRun.next_attempt_at <= func.now() - AVOID_WORKER_FOR,
            )
        )
        .values(
            state=StageState.LEASED,
            lease_token=token,
            lease_expires_at=func.now() + duration,
            leased_by=worker,
            deadline_at=func.now() + STAGES[stage].time_limit,
            attempt=StageRun.attempt + 1,
            started_at=func.now(),
            progress=0,
        )
        .returning(StageRun.attempt)
    )
    if attempt is None:
        return None
    record_stage_state(session, job_id, stage, StageState.LEASED, {"attempt": attempt})
    return Lease(job_id, stage, token, attempt, worker)


def postpone(session: Session, job_id: uuid.UUID, stage: StageName, delay: timedelta) -> bool:
    """Leave a ready stage that nobody has claimed for later; the reaper publishes it when it is due."""
    postponed = session.execute(
        update(StageRun)
        .where(StageRun.job_id == job_id, StageRun.stage == stage, StageRun.state == StageState.READY)
        .where(StageRun.next_attempt_at <= func.now())
        .values(next_attempt_at=func.now() + delay, published_at=None, look_again_at=None)
    )
    return _changed_a_row(postponed)


def renew(session: Session, lease: Lease, duration: timedelta) -> bool:
    """Extend the lease; False when it is no longer ours or the stage's time is up."""
    renewed = session.execute(
        update(StageRun)
        .where(*_owned(lease), StageRun.deadline_at > func.now())
        .values(lease_expires_at=func.now() + duration)
    )
    return _changed_a_row(renewed)


def release(session: Session, lease: Lease) -> bool:
    """Give an unfinished stage back without blame, and tell others of it: they take it as soon as this commits."""
    job = lock_open_job(session, lease.job_id)
    if job is None:
        return False
    released = session.execute(
        update(StageRun)
        .where(*_owned(lease))
        .values(state=StageState.READY, lease_token=None, lease_expires_at=None, next_attempt_at=func.now())
    )
    if not _changed_a_row(released):
        return False
    record_stage_state(session, lease.job_id, lease.stage, StageState.READY, {"attempt": lease.attempt})
    publish_stages(session, lease.job_id, [lease.stage], priority=job.priority)
    return True


def require_lapsed(session: Session, lease: Lease) -> None:
    """Check that a lease has lapsed and hold it so. Raises StaleLease where it was renewed or ended meanwhile."""
    lock_open_job(session, lease.job_id)
    query = select(StageRun.job_id).where(*_owned(lease), StageRun.lease_expires_at < func.now())
    if session.scalar(query.with_for_update()) is None:
        raise StaleLease(f"{lease.stage}: the lease was renewed or has ended")


def end_lease(session: Session, lease: Lease, state: StageState, **values: object) -> None:
    """Move a leased stage to `state`. Raises StaleLease when the token no longer holds (fencing)."""
    ended = session.execute(
        update(StageRun).where(*_owned(lease)).values(state=state, lease_token=None, lease_expires_at=None, **values)
    )
    if not _changed_a_row(ended):
        raise StaleLease(f"{lease.stage}: the lease is held by somebody else or has ended")
    facts: JsonObject = {"attempt": lease.attempt}
    record_stage_state(session, lease.job_id, lease.stage, state, facts)


def _owned(lease: Lease) -> tuple[ColumnElement[bool], ...]:
    return (
        StageRun.job_id == lease.job_id,
        StageRun.stage == lease.stage,
        StageRun.state == StageState.LEASED,
        StageRun.lease_token == lease.token,
    )


def _start_job(session: Session, job_id: uuid.UUID) -> None:
    started = session.execute(
        update(Job).where(Job.id == job_id, Job.state == JobState.QUEUED).values(state=JobState.RUNNING)
    )
    if _changed_a_row(started):
        record_job_state(session, job_id, JobState.RUNNING)


def _changed_a_row(result: object) -> bool:
    assert isinstance(result, CursorResult)  # an UPDATE always gives one
    return result.rowcount > 0
