"""Cancelling: the job ends at once, and what runs of it learns that when it next reports."""

from __future__ import annotations

import uuid

from sqlalchemy.orm import Session

from gateway.jobs.errors import JobAlreadyFinished
from gateway.jobs.repository import complete_records, lock_job
from gateway.jobs.schemas import JobBody, describe_job
from gateway.tenants import Tenant
from shared.endings import end_job
from shared.states import JobState


def cancel_job(session: Session, tenant: Tenant, job_id: uuid.UUID) -> JobBody:
    """End a job as cancelled and return it; one that was cancelled before is returned as it is.

    Raises JobNotFound or JobErased, or JobAlreadyFinished when it ended in another way.
    """
    job = lock_job(session, tenant, job_id)
    if not job.state.is_terminal:
        end_job(session, job, JobState.CANCELLED)
        session.flush()
        session.refresh(job)
    if job.state is not JobState.CANCELLED:
        raise JobAlreadyFinished(job.state)
    return describe_job(complete_records(session, [job])[0])
