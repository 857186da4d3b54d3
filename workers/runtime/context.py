"""The context of one run of one stage: everything that a stage may ask of the runtime."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Engine, func, select
from sqlalchemy.orm import Session

from shared.artefacts import ArtefactKind, UploadKind
from shared.database import transaction
from shared.endings import lock_open_job
from shared.errors import Defect, StageCancelled, StaleLease
from shared.events import record_stage_progress
from shared.json_values import JsonObject
from shared.stages import StageName
from shared.storage import ObjectStore, StoredObject
from shared.tables import Artefact, Feature, Job, Policy, StageRun
from workers.runtime.artefact_cache import ArtefactCache
from workers.runtime.lease import Lease
from workers.runtime.stage import ArtefactRecord, StageRecord, StageWarning

_LOOK_EVERY_S = 0.5
"""How often a running stage looks at its rows: bounds both the events of progress and how long a cancelled one runs."""


@dataclass(frozen=True)
class JobPlan:
    """What was asked of the job, as it was accepted. `upload_kind` is None once the upload was removed."""

    tenant: str
    options: JsonObject
    policy: JsonObject
    artefacts: Mapping[ArtefactKind, StoredObject]
    upload_kind: UploadKind | None


def fetch_job_plan(session: Session, job_id: uuid.UUID) -> JobPlan:
    """Read the options, the policy and the artefacts of a job."""
    job = session.get_one(Job, job_id)
    policy = session.get_one(Policy, job.policy_id)
    artefacts = session.scalars(select(Artefact).where(Artefact.job_id == job_id)).all()
    upload = next((artefact for artefact in artefacts if artefact.kind is ArtefactKind.UPLOAD), None)
    return JobPlan(
        tenant=job.tenant,
        options=job.options,
        policy=policy.document,
        artefacts={
            artefact.kind: StoredObject(artefact.key, artefact.size_bytes, artefact.sha256) for artefact in artefacts
        },
        upload_kind=None if upload is None else UploadKind(upload.facts["kind"]),
    )


def fetch_volume_shape(session: Session, job_id: uuid.UUID) -> tuple[int, int, int] | None:
    """Return the voxels of a job's volume along (z, y, x); None where it has no volume."""
    facts = session.scalar(
        select(Artefact.facts).where(Artefact.job_id == job_id, Artefact.kind == ArtefactKind.VOLUME)
    )
    if not facts or "chosen" not in facts:
        return None
    z, y, x = facts["chosen"]["shape_zyx"]
    return (int(z), int(y), int(x))


class RunContext:
    """Implements `workers.runtime.stage.StageContext` on the database, the object store and the cache."""

    def __init__(
        self,
        lease: Lease,
        plan: JobPlan,
        scratch: Path,
        *,
        engine: Engine,
        store: ObjectStore,
        cache: ArtefactCache,
        lost: threading.Event,
    ) -> None:
        self._lease = lease
        self._plan = plan
        self._scratch = scratch
        self._engine = engine
        self._store = store
        self._cache = cache
        self._lost = lost
        self._looks_next_at = 0.0

    @property
    def job_id(self) -> str:
        """Identifier of the job."""
        return str(self._lease.job_id)

    @property
    def tenant(self) -> str:
        """Whose job it is."""
        return self._plan.tenant

    @property
    def options(self) -> JsonObject:
        """Options of the submission."""
        return self._plan.options

    @property
    def policy(self) -> JsonObject:
        """The policy document that the job was accepted under."""
        return self._plan.policy

    @property
    def upload_kind(self) -> UploadKind:
        """How the upload is packed."""
        if self._plan.upload_kind is None:
            raise Defect(f"{self._lease.stage} asked for the upload, which retention has removed")
        return self._plan.upload_kind

    @property
    def scratch(self) -> Path:
        """Empty folder of this run; removed afterwards."""
        return self._scratch

    def presign_upload(self) -> str:
        """Return an address from which the upload can be read without credentials."""
        return self._store.presign(self._plan.artefacts[ArtefactKind.UPLOAD].key)

    def fetch_artefact(self, kind: ArtefactKind) -> Path:
        """Return a local read-only copy of an artefact of this job, checked against its digest."""
        stored = self._plan.artefacts.get(kind)
        if stored is None:
            raise Defect(f"{self._lease.stage} asked for the artefact {kind}, which no stage made")
        return self._cache.fetch(stored)

    def fetch_records(self) -> Mapping[StageName, StageRecord]:
        """Return how the stages of this job ended so far, with their features."""
        with transaction(self._engine) as session:
            runs = session.scalars(select(StageRun).where(StageRun.job_id == self._lease.job_id)).all()
            features = session.scalars(select(Feature).where(Feature.job_id == self._lease.job_id)).all()
        values = {row.stage: row.values for row in features}
        return {run.stage: _make_record(run, values.get(run.stage, {})) for run in runs}

    def fetch_artefact_records(self) -> Sequence[ArtefactRecord]:
        """Return what stands in storage for this job so far, the upload included."""
        with transaction(self._engine) as session:
            rows = session.scalars(select(Artefact).where(Artefact.job_id == self._lease.job_id)).all()
        records = (ArtefactRecord(row.kind, row.media_type, row.size_bytes, row.sha256, row.facts) for row in rows)
        return sorted(records, key=lambda record: record.kind)

    def fetch_elapsed_s(self) -> float:
        """Return the seconds since the job was accepted, by the database's clock."""
        with transaction(self._engine) as session:
            elapsed = func.extract("epoch", func.clock_timestamp() - Job.created_at)
            return float(session.scalars(select(elapsed).where(Job.id == self._lease.job_id)).one())

    def report(self, progress: float) -> None:
        """Publish progress, not more often than every half second. Raises StaleLease, or StageCancelled."""
        if self._is_time_to_look():
            self._look(progress)

    def check(self) -> None:
        """Look whether the work is still wanted. Raises StaleLease, or StageCancelled."""
        if self._is_time_to_look():
            self._look(None)

    def _is_time_to_look(self) -> bool:
        if self._lost.is_set():
            raise StaleLease(f"{self._lease.stage}: the lease was lost while running")
        now = time.monotonic()
        if now < self._looks_next_at:
            return False
        self._looks_next_at = now + _LOOK_EVERY_S
        return True

    def _look(self, progress: float | None) -> None:
        with transaction(self._engine) as session:
            if lock_open_job(session, self._lease.job_id) is None:
                raise StageCancelled(f"{self._lease.stage}: the job has ended")
            run = session.get_one(StageRun, (self._lease.job_id, self._lease.stage), with_for_update=True)
            if run.lease_token != self._lease.token:
                raise StaleLease(f"{self._lease.stage}: the lease is held by somebody else")
            if progress is not None:
                run.progress = progress
                record_stage_progress(session, self._lease.job_id, self._lease.stage, progress)


def _make_record(run: StageRun, features: Mapping[str, float]) -> StageRecord:
    seconds = (run.finished_at - run.started_at).total_seconds() if run.finished_at and run.started_at else None
    return StageRecord(
        name=run.stage,
        state=run.state,
        reason=run.reason,
        facts=run.facts,
        warnings=[_make_warning(document) for document in run.warnings],
        features=features,
        seconds=seconds,
        reused_from=None if run.reused_from is None else str(run.reused_from),
    )


def _make_warning(document: Mapping[str, object]) -> StageWarning:
    facts = {name: value for name, value in document.items() if name != "code"}
    return StageWarning(str(document["code"]), facts)  # type: ignore[arg-type]  # it came from JSON
