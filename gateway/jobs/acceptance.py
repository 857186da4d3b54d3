"""The one transaction that makes a stored upload a job."""

from __future__ import annotations

import uuid
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from gateway.jobs.options import JobRequest
from gateway.jobs.repository import complete_records
from gateway.jobs.schemas import JobBody, describe_job
from gateway.tenants import Tenant
from gateway.uploads.reception import ReceivedUpload
from shared import acceptance
from shared.errors import TransientFault
from shared.problems import ProblemCode
from shared.settings import Settings
from shared.storage import StoredObject
from shared.tables import Policy


@dataclass(frozen=True)
class Submission:
    """A whole request: who asks what, and where the bytes lie."""

    tenant: Tenant
    request: JobRequest
    upload: ReceivedUpload
    stored: StoredObject


def require_policy_id(session: Session, settings: Settings) -> str:
    """Return the active policy of the configured name. Raises TransientFault(NOT_READY) before there is one."""
    policy_id = session.scalar(select(Policy.id).where(Policy.name == settings.policy, Policy.is_active))
    if policy_id is None:
        raise TransientFault(ProblemCode.NOT_READY, f"no active policy is named {settings.policy}")
    return policy_id


def add_job(session: Session, settings: Settings, submission: Submission) -> JobBody:
    """Write the job and all that belongs to it; return the job as the caller sees it."""
    upload = submission.upload
    new = acceptance.NewJob(
        id=uuid.uuid4(),
        tenant=submission.tenant,
        priority=submission.request.options.priority,
        options=submission.request.to_document(),
        policy_id=require_policy_id(session, settings),
        weights_profile=settings.weights_profile,
        time_limit=settings.job_time_limit,
        upload=acceptance.StoredUpload(submission.stored, upload.kind, upload.media_type),
    )
    job = acceptance.add_job(session, new)
    session.refresh(job)
    return describe_job(complete_records(session, [job])[0])
