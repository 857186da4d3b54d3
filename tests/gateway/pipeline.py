"""What workers do to a job, by the runtime's own functions and without any model."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from sqlalchemy import Engine, func, select

from shared.artefacts import ArtefactKind
from shared.database import transaction
from shared.errors import CtclipError
from shared.settings import Settings
from shared.stages import StageName
from shared.storage import ObjectStore
from shared.tables import Artefact, Job, Result, SeriesCandidate, StageRun, UploadFile
from workers.runtime.completion import complete_stage
from workers.runtime.lease import Lease, claim
from workers.runtime.outcomes import end_after_error
from workers.runtime.stage import StageOutput, StageWarning

SEVEN_FIELDS = {
    "study_uid": "1.2.3",
    "series_uid": "1.2.3.4",
    "probability_of_pathology": 0.71,
    "pathology": 1,
    "most_dangerous_pathology_type": "Pleural effusion",
    "processing_status": "Success",
    "time_of_processing": 4.2,
}


def lease_stage(engine: Engine, job_id: uuid.UUID, stage: StageName) -> Lease:
    with transaction(engine) as session:
        run = session.get_one(StageRun, (job_id, stage))
        run.next_attempt_at = func.now()
        run.avoid_worker = None
    with transaction(engine) as session:
        lease = claim(session, job_id, stage, worker="worker-of-tests", duration=timedelta(seconds=30))
    assert lease is not None, f"{stage} is not ready"
    return lease


def complete(engine: Engine, job_id: uuid.UUID, stage: StageName, output: StageOutput | None = None) -> None:
    lease = lease_stage(engine, job_id, stage)
    with transaction(engine) as session:
        complete_stage(session, lease, output or StageOutput(), ())


def complete_intake(engine: Engine, job_id: uuid.UUID) -> None:
    file = UploadFile(ordinal=0, name="a/1.dcm", size_bytes=7, outcome="used")
    candidate = SeriesCandidate(
        rank=1,
        is_chosen=True,
        series_instance_uid="1.2.3.4",
        score=1.5,
        criteria={"slices": 120},
        facts={"kernel": "B70f"},
        reason="The only one.",
    )
    output = StageOutput(
        rows=[file, candidate], warnings=[StageWarning("duplicates", {"count": 2})], facts={"study_uid": "1.2.3"}
    )
    complete(engine, job_id, StageName.INTAKE, output)


def finish_job(engine: Engine, job_id: uuid.UUID, document: dict[str, Any] | None = None) -> None:
    """Bring a job to its result."""
    complete_intake(engine, job_id)
    complete(engine, job_id, StageName.MEDNEXT)
    result = Result(
        document=document or {**SEVEN_FIELDS, "job_id": str(job_id), "weights_profile": "demo"},
        policy_id="default-1",
        probability=0.7,
    )
    complete(engine, job_id, StageName.FUSION, StageOutput(rows=[result]))


def end_intake(engine: Engine, settings: Settings, job_id: uuid.UUID, errors: Sequence[CtclipError]) -> None:
    """Let intake meet one error after another."""
    for error in errors:
        end_after_error(engine, settings, lease_stage(engine, job_id, StageName.INTAKE), error)


def add_masks(engine: Engine, store: ObjectStore, job_id: uuid.UUID, content: bytes) -> Artefact:
    return add_artefact(engine, store, job_id, content, kind=ArtefactKind.MASKS, media_type="application/x-blosc2")


def add_artefact(
    engine: Engine, store: ObjectStore, job_id: uuid.UUID, content: bytes, *, kind: ArtefactKind, media_type: str
) -> Artefact:
    stored = store.write_bytes(content, prefix="artefacts")
    artefact = Artefact(
        id=uuid.uuid4(),
        job_id=job_id,
        kind=kind,
        stage=StageName.SEGMENTATION,
        key=stored.key,
        media_type=media_type,
        size_bytes=stored.size_bytes,
        sha256=stored.sha256,
    )
    with transaction(engine) as session:
        session.add(artefact)
    return artefact


def fetch_newest_job(engine: Engine) -> uuid.UUID | None:
    with transaction(engine) as session:
        return session.scalar(select(Job.id).where(Job.finished_at.is_(None)).order_by(Job.created_at.desc()).limit(1))


def fetch_unfinished_jobs(engine: Engine) -> set[uuid.UUID]:
    with transaction(engine) as session:
        return set(session.scalars(select(Job.id).where(Job.finished_at.is_(None))))
