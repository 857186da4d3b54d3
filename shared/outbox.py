"""The outbox: messages that leave for the broker after the commit that made them true."""

from __future__ import annotations

import uuid
from collections.abc import Iterable

from sqlalchemy import func, insert, update
from sqlalchemy.orm import Session

from shared.database import notify_outbox
from shared.stages import StageName
from shared.tables import Outbox, StageRun
from shared.tracing import current_traceparent


def publish_stages(session: Session, job_id: uuid.UUID, stages: Iterable[StageName], *, priority: int) -> None:
    """Write one "look at this stage" message per stage and wake the relay at the commit.

    The message belongs to the trace of what made the stage ready, however late and by whomever it is written again.
    """
    names = list(stages)
    if not names:
        return
    published = session.execute(
        update(StageRun)
        .where(StageRun.job_id == job_id, StageRun.stage.in_(names))
        .values(
            published_at=func.now(),
            publications=StageRun.publications + 1,
            traceparent=func.coalesce(current_traceparent(), StageRun.traceparent),
        )
        .returning(StageRun.stage, StageRun.traceparent)
    )
    traces: dict[StageName, str | None] = {stage: traceparent for stage, traceparent in published}  # noqa: C416
    rows = [{"job_id": job_id, "stage": name, "priority": priority, "traceparent": traces.get(name)} for name in names]
    session.execute(insert(Outbox), rows)
    notify_outbox(session)
