"""The end of a job, for whoever ends one: a worker, the reaper, or a caller who cancels."""

from __future__ import annotations

import uuid

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from shared.events import record_job_state, record_stage_state
from shared.metrics import JOB_SECONDS, JOBS_ENDED
from shared.problems import Problem
from shared.states import JobState, StageState
from shared.tables import Job, StageRun
from shared.webhooks import announce_ending

_OPEN_STATES = (StageState.WAITING, StageState.READY, StageState.LEASED)


def lock_open_job(session: Session, job_id: uuid.UUID) -> Job | None:
    """Lock and return the job, or None when it has ended or is gone."""
    # Its key is left free: events of running stages refer to it. Read anew: it may have ended since it was last read.
    query = select(Job).where(Job.id == job_id).with_for_update(key_share=True)
    job = session.scalar(query.execution_options(populate_existing=True))
    return None if job is None or job.state.is_terminal else job


def end_job(session: Session, job: Job, state: JobState, problem: Problem | None = None) -> None:
    """End a locked job for good and tell who wants to know. Stages that have not ended are cancelled."""
    job.state = state
    job.problem = problem.to_document() if problem else None
    job.finished_at = func.now()
    session.flush()
    announce_ending(session, job)
    if not state.has_result:
        cancel_open_stages(session, job.id)
    record_job_state(session, job.id, state)
    JOBS_ENDED.labels(state=state, code=problem.code if problem else "").inc()
    JOB_SECONDS.labels(state=state).observe(((job.finished_at or job.created_at) - job.created_at).total_seconds())


def cancel_open_stages(session: Session, job_id: uuid.UUID) -> None:
    """Cancel every stage of a job that has not ended; a running one learns it when it next reports."""
    cancelled = session.scalars(
        update(StageRun)
        .where(StageRun.job_id == job_id, StageRun.state.in_(_OPEN_STATES))
        .values(state=StageState.CANCELLED, lease_token=None, lease_expires_at=None, finished_at=func.now())
        .returning(StageRun.stage)
    )
    for stage in cancelled.all():
        record_stage_state(session, job_id, stage, StageState.CANCELLED)
