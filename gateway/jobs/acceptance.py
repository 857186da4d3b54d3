"""The one transaction that makes a stored upload a job."""

from __future__ import annotations

import uuid
from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from gateway.jobs.options import JobRequest
from gateway.jobs.planning import StagePlan, plan_stages
from gateway.jobs.repository import complete_records
from gateway.jobs.schemas import JobBody, describe_job
from gateway.tenants import Tenant
from gateway.uploads.reception import ReceivedUpload
from shared.artefacts import ArtefactKind
from shared.errors import TransientFault
from shared.events import record_job_state, record_stage_state
from shared.outbox import publish_stages
from shared.problems import ProblemCode
from shared.settings import Settings
from shared.stages import StageName
from shared.states import JobState, StageState
from shared.storage import StoredObject
from shared.tables import Artefact, Job, ModelVersion, Policy, StageRun


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
    """Write job, stages, upload, message and events; return the job as the caller sees it."""
    job = Job(
        id=uuid.uuid4(),
        tenant=submission.tenant,
        state=JobState.QUEUED,
        priority=submission.request.options.priority,
        options=submission.request.to_document(),
        policy_id=require_policy_id(session, settings),
        weights_profile=settings.weights_profile,
        deadline_at=func.now() + settings.job_time_limit,
    )
    session.add(job)
    session.flush()
    session.add(_make_upload(job.id, submission))
    _add_stages(session, job.id, submission.request)
    publish_stages(session, job.id, [StageName.INTAKE], priority=job.priority)
    session.refresh(job)
    return describe_job(complete_records(session, [job])[0])


def _make_upload(job_id: uuid.UUID, submission: Submission) -> Artefact:
    return Artefact(
        id=uuid.uuid4(),
        job_id=job_id,
        kind=ArtefactKind.UPLOAD,
        key=submission.stored.key,
        media_type=submission.upload.media_type,
        size_bytes=submission.stored.size_bytes,
        sha256=submission.stored.sha256,
        facts={"kind": submission.upload.kind},
    )


def _add_stages(session: Session, job_id: uuid.UUID, request: JobRequest) -> None:
    installed = session.scalars(select(ModelVersion.stage).where(ModelVersion.is_active)).all()
    plans = plan_stages(installed, request.options.models)
    session.add_all(_make_run(job_id, plan) for plan in plans)
    record_job_state(session, job_id, JobState.QUEUED)
    for plan in plans:
        if plan.state is not StageState.WAITING:
            record_stage_state(session, job_id, plan.stage, plan.state, {"reason": plan.reason} if plan.reason else {})
    session.flush()


def _make_run(job_id: uuid.UUID, plan: StagePlan) -> StageRun:
    run = StageRun(job_id=job_id, stage=plan.stage, state=plan.state, reason=plan.reason)
    if plan.state is StageState.READY:
        run.ready_at = run.next_attempt_at = func.now()
    elif plan.state.is_terminal:
        run.finished_at = func.now()
    return run
