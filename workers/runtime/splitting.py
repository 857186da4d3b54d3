"""An upload of several studies becomes one job for each, in the transaction that rejects the job it came with."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from shared.acceptance import NewJob, StoredUpload, add_job
from shared.artefacts import ArtefactKind, UploadKind
from shared.json_values import JsonValue
from shared.problems import Problem
from shared.stages import StageName
from shared.storage import StoredObject
from shared.tables import Artefact, Job, StageRun


def split_job(session: Session, job: Job, problem: Problem, study_uids: Sequence[str]) -> Problem:
    """Write one job for each study and return the problem of the split job, which names them.

    The ids follow from the split job and the study, so no second split of it could be written.
    """
    upload = _fetch_upload(session, job)
    jobs: list[JsonValue] = []
    time_limit = _fetch_time_limit(session, job)
    for study_uid in study_uids:
        part = _plan_part(job, upload, study_uid, time_limit)
        add_job(session, part)
        jobs.append({"id": str(part.id), "study_instance_uid": study_uid})
    detail = f"{problem.detail} It was split into {len(jobs)} jobs, one for each study."
    return Problem(problem.code, detail, {**problem.facts, "jobs": jobs})


def _fetch_time_limit(session: Session, job: Job) -> timedelta:
    """Return how long the job had. Its time began to count with its last retry, which may be days after it was made."""
    intake = session.get_one(StageRun, (job.id, StageName.INTAKE))
    return job.deadline_at - (intake.ready_at or job.created_at)


def _plan_part(job: Job, upload: StoredUpload, study_uid: str, time_limit: timedelta) -> NewJob:
    options = {name: value for name, value in job.options.items() if name != "split"}
    return NewJob(
        id=uuid.uuid5(job.id, study_uid),
        tenant=job.tenant,
        priority=job.priority,
        options={**options, "study_instance_uid": study_uid},
        policy_id=job.policy_id,
        weights_profile=job.weights_profile,
        time_limit=time_limit,
        upload=upload,
        labels=job.labels,
    )


def _fetch_upload(session: Session, job: Job) -> StoredUpload:
    query = select(Artefact).where(Artefact.job_id == job.id, Artefact.kind == ArtefactKind.UPLOAD)
    row = session.scalars(query).one()
    stored = StoredObject(row.key, row.size_bytes, row.sha256)
    return StoredUpload(stored, UploadKind(row.facts["kind"]), row.media_type)
