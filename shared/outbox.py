"""The outbox: messages that leave for the broker after the commit that made them true."""

from __future__ import annotations

import uuid
from collections.abc import Iterable

from sqlalchemy import func, insert, update
from sqlalchemy.orm import Session

from shared.database import notify_outbox
from shared.stages import StageName
from shared.tables import Outbox, StageRun


def publish_stages(session: Session, job_id: uuid.UUID, stages: Iterable[StageName], *, priority: int) -> None:
    """Write one "look at this stage" message per stage and wake the relay at the commit."""
    names = list(stages)
    if not names:
        return
    session.execute(insert(Outbox), [{"job_id": job_id, "stage": name, "priority": priority} for name in names])
    session.execute(
        update(StageRun)
        .where(StageRun.job_id == job_id, StageRun.stage.in_(names))
        .values(published_at=func.now(), publications=StageRun.publications + 1)
    )
    notify_outbox(session)
