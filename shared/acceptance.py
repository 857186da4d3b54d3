"""The rows that make a stored upload a job, for whoever accepts one: the gateway, or intake that splits an upload."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from datetime import timedelta

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from shared.artefacts import ArtefactKind, UploadKind
from shared.events import record_job_state, record_stage_state
from shared.outbox import publish_stages
from shared.pauses import fetch_paused
from shared.planning import StagePlan, plan_stages
from shared.stages import StageName
from shared.states import JobState, StageState
from shared.storage import StoredObject
from shared.tables import Artefact, Document, Job, ModelVersion, StageRun
from shared.turns import compute_turn
from shared.webhooks import is_anybody_told


@dataclass(frozen=True)
class StoredUpload:
    """An upload that lies in storage."""

    stored: StoredObject
    kind: UploadKind
    media_type: str


@dataclass(frozen=True)
class NewJob:
    """A job that is to be. `options` are what its stages may read; `time_limit` counts from now."""

    id: uuid.UUID
    tenant: str
    priority: int
    options: Document
    policy_id: str
    weights_profile: str
    time_limit: timedelta
    upload: StoredUpload
    labels: Document = field(default_factory=dict)


def add_job(session: Session, new: NewJob) -> Job:
    """Write job, upload, stages, events and the message that starts intake; return the job's row."""
    job = Job(
        id=new.id,
        tenant=new.tenant,
        state=JobState.QUEUED,
        priority=new.priority,
        options=new.options,
        labels=new.labels,
        policy_id=new.policy_id,
        weights_profile=new.weights_profile,
        deadline_at=func.now() + new.time_limit,
        turn_at=compute_turn(new.priority),
    )
    session.add(job)
    session.flush()
    session.add(_make_upload(new))
    _add_stages(session, new)
    publish_stages(session, new.id, [StageName.INTAKE], priority=new.priority)
    return job


def _make_upload(new: NewJob) -> Artefact:
    upload = new.upload
    return Artefact(
        id=uuid.uuid4(),
        job_id=new.id,
        kind=ArtefactKind.UPLOAD,
        key=upload.stored.key,
        media_type=upload.media_type,
        size_bytes=upload.stored.size_bytes,
        sha256=upload.stored.sha256,
        facts={"kind": upload.kind},
    )


def _add_stages(session: Session, new: NewJob) -> None:
    installed = session.scalars(select(ModelVersion.stage).where(ModelVersion.is_active)).all()
    validates_only = bool(new.options.get("validate_only"))
    is_told = is_anybody_told(session, new.tenant, new.options)
    plans = plan_stages(
        installed,
        new.options.get("models"),
        paused=fetch_paused(session),
        validates_only=validates_only,
        is_told=is_told,
    )
    session.add_all(_make_run(new.id, plan) for plan in plans)
    record_job_state(session, new.id, JobState.QUEUED)
    for plan in plans:
        if plan.state is not StageState.WAITING:
            record_stage_state(session, new.id, plan.stage, plan.state, {"reason": plan.reason} if plan.reason else {})
    session.flush()


def _make_run(job_id: uuid.UUID, plan: StagePlan) -> StageRun:
    run = StageRun(job_id=job_id, stage=plan.stage, state=plan.state, reason=plan.reason)
    if plan.state is StageState.READY:
        run.ready_at = run.next_attempt_at = func.now()
    elif plan.state.is_terminal:
        run.finished_at = func.now()
    return run
