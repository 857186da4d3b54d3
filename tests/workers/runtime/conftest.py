"""Jobs in a real database, for the tests of the runtime."""

from __future__ import annotations

import uuid
from collections.abc import Callable

import pytest
from sqlalchemy import Engine, func

from shared.artefacts import ArtefactKind
from shared.database import transaction
from shared.settings import Settings
from shared.stages import WEIGHTED_STAGES, StageName
from shared.states import JobState, StageState
from shared.tables import Artefact, Job, Policy, StageRun

JobMaker = Callable[..., uuid.UUID]


@pytest.fixture
def make_job(engine: Engine, settings: Settings) -> JobMaker:
    """Return a function that adds a job whose intake is ready; the `models` wait, all others are skipped."""

    def make(*, models: tuple[StageName, ...] = (StageName.MEDNEXT,), **stage_values: object) -> uuid.UUID:
        return add_job(engine, settings, models=models, **stage_values)

    return make


def add_job(engine: Engine, settings: Settings, *, models: tuple[StageName, ...], **stage_values: object) -> uuid.UUID:
    """Add a job whose intake is ready, with `stage_values`; the `models` wait, all others are skipped."""
    job_id = uuid.uuid4()
    with transaction(engine) as session:
        session.merge(Policy(id="policy-of-tests", name="tests", digest="0", document={}))
        session.flush()
        session.add(
            Job(
                id=job_id,
                state=JobState.QUEUED,
                policy_id="policy-of-tests",
                weights_profile="demo",
                deadline_at=func.now() + settings.job_time_limit,
            )
        )
        session.flush()
        session.add(_upload(job_id))
        session.add_all(_stage(job_id, name, models, stage_values) for name in StageName)
    return job_id


def _upload(job_id: uuid.UUID) -> Artefact:
    return Artefact(
        id=uuid.uuid4(),
        job_id=job_id,
        kind=ArtefactKind.UPLOAD,
        key=f"uploads/{job_id}",
        media_type="application/zip",
        size_bytes=1,
        sha256="0" * 64,
        facts={"kind": "zip"},
    )


def _stage(job_id: uuid.UUID, name: StageName, models: tuple[StageName, ...], values: dict[str, object]) -> StageRun:
    if name is StageName.INTAKE:
        return StageRun(job_id=job_id, stage=name, state=StageState.READY, next_attempt_at=func.now(), **values)
    is_skipped = name is StageName.DELIVERY or (name in WEIGHTED_STAGES and name not in models)
    return StageRun(job_id=job_id, stage=name, state=StageState.SKIPPED if is_skipped else StageState.WAITING)
