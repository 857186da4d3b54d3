"""The one transaction that makes a stored upload a job."""

from __future__ import annotations

import uuid
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from gateway.jobs.options import JobRequest
from gateway.jobs.repository import complete_records
from gateway.jobs.schemas import JobBody, describe_job
from gateway.problems.handlers import InvalidFields, make_pointer
from gateway.tenants import Tenant
from gateway.uploads.reception import ReceivedUpload
from shared import acceptance
from shared.errors import TransientFault
from shared.problems import FieldError, ProblemCode
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


def require_policy_id(session: Session, settings: Settings, asked: str | None = None) -> str:
    """Return the active policy that a caller asked for, else that of the configured name.

    Raises TransientFault(NOT_READY) before there is one, InvalidFields when the one asked for is not offered.
    """
    name = asked or settings.policy
    policy = session.scalar(select(Policy).where(Policy.name == name, Policy.is_active))
    if policy is not None and (name == settings.policy or _is_offered(policy)):
        return policy.id
    if asked in {None, settings.policy}:
        raise TransientFault(ProblemCode.NOT_READY, f"no active policy is named {settings.policy}")
    offered = ", ".join(_list_offered(session))
    told = f"No policy of this name is offered here; there are {offered}"
    raise InvalidFields(FieldError(make_pointer(["policy"]), told))


def _list_offered(session: Session) -> list[str]:
    policies = session.scalars(select(Policy).where(Policy.is_active).order_by(Policy.name))
    return [policy.name for policy in policies if _is_offered(policy)]


def _is_offered(policy: Policy) -> bool:
    """Return whether a caller may choose a policy: one that needs no model reads no study, and only measures."""
    return int(policy.document.get("minimum_models", 0)) > 0


def add_job(session: Session, settings: Settings, submission: Submission) -> JobBody:
    """Write the job and all that belongs to it; return the job as the caller sees it."""
    upload = submission.upload
    new = acceptance.NewJob(
        id=uuid.uuid4(),
        tenant=submission.tenant,
        priority=submission.request.options.priority,
        options=submission.request.to_document(),
        policy_id=require_policy_id(session, settings, submission.request.options.policy),
        weights_profile=settings.weights_profile,
        time_limit=settings.job_time_limit,
        upload=acceptance.StoredUpload(submission.stored, upload.kind, upload.media_type),
        labels=dict(submission.request.options.labels),
    )
    job = acceptance.add_job(session, new)
    session.refresh(job)
    return describe_job(complete_records(session, [job])[0])
