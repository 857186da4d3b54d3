"""What waits for a model that was paused meanwhile goes on without it."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Sequence

from sqlalchemy import Engine, func, select, update
from sqlalchemy.orm import Session

from shared.database import transaction
from shared.endings import lock_open_job
from shared.events import record_stage_state
from shared.pauses import fetch_paused
from shared.stages import SkipReason, StageName
from shared.states import StageState
from shared.tables import StageRun
from workers.runtime.progression import advance_job

_BATCH = 200


def skip_paused_stages(engine: Engine) -> int:
    """Skip ready stages of paused models, those of up to two hundred jobs; return of how many. What runs is left."""
    with transaction(engine) as session:
        paused = fetch_paused(session)
        waiting = _find_waiting(session, paused) if paused else ()
    for job_id in waiting:
        with transaction(engine) as session:
            _skip(session, job_id, paused)
    return len(waiting)


def _find_waiting(session: Session, paused: Collection[StageName]) -> Sequence[uuid.UUID]:
    is_waiting = (StageRun.state == StageState.READY, StageRun.stage.in_(paused))
    return session.scalars(select(StageRun.job_id).where(*is_waiting).distinct().limit(_BATCH)).all()


def _skip(session: Session, job_id: uuid.UUID, paused: Collection[StageName]) -> None:
    job = lock_open_job(session, job_id)
    if job is None:
        return
    skipped = session.scalars(
        update(StageRun)
        .where(StageRun.job_id == job_id, StageRun.stage.in_(paused), StageRun.state == StageState.READY)
        .values(state=StageState.SKIPPED, reason=SkipReason.MODEL_PAUSED, finished_at=func.now())
        .returning(StageRun.stage)
    ).all()
    for stage in skipped:
        record_stage_state(session, job_id, stage, StageState.SKIPPED, {"reason": SkipReason.MODEL_PAUSED})
    advance_job(session, job)
