"""A job that asks once more what another one was asked, of the same upload, or of its volume once that was removed."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from shared.acceptance import NewJob, StoredUpload, add_job
from shared.artefacts import ArtefactKind, UploadKind
from shared.events import record_job_state
from shared.pauses import fetch_paused
from shared.planning import plan_stages
from shared.settings import Settings
from shared.shared_objects import hold_object
from shared.stages import StageName
from shared.states import JobState, StageState
from shared.storage import StoredObject
from shared.tables import Artefact, Document, Job, ModelVersion, StageRun
from shared.turns import compute_turn
from shared.webhooks import UNTOLD
from workers.reuse.repository import copy_artefact
from workers.runtime.progression import advance_job

_NOT_AGAIN = frozenset({"callback_url", "split"})
_INPUTS = (ArtefactKind.UPLOAD, ArtefactKind.SOURCE_SERIES, ArtefactKind.VOLUME)
LABEL = "replay_of"


class NothingLeft(ValueError):
    """Neither the upload nor the volume of the job is kept any more."""


@dataclass(frozen=True)
class Replay:
    """The job that runs; `begins_at` is where it takes the study up."""

    job_id: uuid.UUID
    begins_at: ArtefactKind


def start_replay(session: Session, settings: Settings, job: Job) -> Replay:
    """Write a job that reads the same study without any earlier answer. Raises NothingLeft."""
    kept = _hold_inputs(session, job.id)
    if ArtefactKind.UPLOAD in kept:
        return Replay(_start_from_upload(session, settings, job, kept[ArtefactKind.UPLOAD]), ArtefactKind.UPLOAD)
    if ArtefactKind.VOLUME in kept:
        return Replay(_start_from_volume(session, settings, job, kept), ArtefactKind.VOLUME)
    raise NothingLeft("neither its upload nor its volume is kept any more")


def _hold_inputs(session: Session, job_id: uuid.UUID) -> Mapping[ArtefactKind, Artefact]:
    """Return what the job was read from, as far as it is there, kept from removal until this transaction ends."""
    query = select(Artefact).where(Artefact.job_id == job_id, Artefact.kind.in_(_INPUTS))
    rows = {row.kind: row for row in session.scalars(query)}
    for kind in _INPUTS:
        if kind in rows:
            hold_object(session, rows[kind].key)
    left = set(session.scalars(select(Artefact.id).where(Artefact.job_id == job_id)))
    return {kind: row for kind, row in rows.items() if row.id in left}


def _choose_options(job: Job) -> Document:
    return {**{word: value for word, value in job.options.items() if word not in _NOT_AGAIN}, "reuse": False, **UNTOLD}


def _start_from_upload(session: Session, settings: Settings, job: Job, upload: Artefact) -> uuid.UUID:
    stored = StoredObject(upload.key, upload.size_bytes, upload.sha256)
    new = NewJob(
        id=uuid.uuid4(),
        tenant=job.tenant,
        priority=job.priority,
        options=_choose_options(job),
        policy_id=job.policy_id,
        weights_profile=settings.weights_profile,
        time_limit=settings.job_time_limit,
        upload=StoredUpload(stored, UploadKind(upload.facts["kind"]), upload.media_type),
        labels={LABEL: str(job.id)},
    )
    return add_job(session, new).id


def _start_from_volume(
    session: Session, settings: Settings, job: Job, kept: Mapping[ArtefactKind, Artefact]
) -> uuid.UUID:
    replay = Job(
        id=uuid.uuid4(),
        tenant=job.tenant,
        state=JobState.RUNNING,
        priority=job.priority,
        options=_choose_options(job),
        labels={LABEL: str(job.id)},
        policy_id=job.policy_id,
        weights_profile=settings.weights_profile,
        patient_pseudonym=job.patient_pseudonym,
        deadline_at=func.now() + settings.job_time_limit,
        turn_at=compute_turn(job.priority),
    )
    session.add(replay)
    session.flush()
    session.add_all(copy_artefact(replay.id, artefact) for artefact in kept.values())
    session.add_all(_plan_stages(session, replay, session.get_one(StageRun, (job.id, StageName.INTAKE))))
    record_job_state(session, replay.id, JobState.RUNNING)
    session.flush()
    advance_job(session, replay)
    return replay.id


def _plan_stages(session: Session, replay: Job, intake: StageRun) -> list[StageRun]:
    installed = session.scalars(select(ModelVersion.stage).where(ModelVersion.is_active)).all()
    runs = [
        StageRun(job_id=replay.id, stage=plan.stage, state=plan.state, reason=plan.reason)
        for plan in plan_stages(installed, replay.options.get("models"), paused=fetch_paused(session))
    ]
    for run in runs:
        if run.stage is StageName.INTAKE:
            run.state, run.progress, run.finished_at = StageState.SUCCEEDED, 1, func.now()
            run.warnings, run.facts, run.reused_from = intake.warnings, intake.facts, intake.job_id
    return runs
