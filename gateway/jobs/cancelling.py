"""Cancelling: the job ends at once, and what runs of it learns that when it next reports."""

from __future__ import annotations

import uuid

from sqlalchemy.orm import Session

from gateway.jobs.errors import JobAlreadyFinished
from gateway.jobs.repository import complete_records, fetch_job
from gateway.jobs.schemas import JobBody, describe_job
from gateway.tenants import Tenant
from shared.endings import end_job, lock_open_job
from shared.states import JobState


def cancel_job(session: Session, tenant: Tenant, job_id: uuid.UUID) -> JobBody:
    """End a job as cancelled and return it; one that was cancelled before is returned as it is.

    Raises JobNotFound, or JobAlreadyFinished when it ended in another way.
    """
    job = fetch_job(session, tenant, job_id)
    if lock_open_job(session, job_id) is not None:
        end_job(session, job, JobState.CANCELLED)
        session.flush()
    session.refresh(job)
    if job.state is not JobState.CANCELLED:
        raise JobAlreadyFinished(job.state)
    return describe_job(complete_records(session, [job])[0])
