"""The outbox: messages that leave for the broker after the commit that made them true."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from datetime import timedelta

from sqlalchemy import func, insert, select, update
from sqlalchemy.orm import Session

from shared.database import notify_outbox
from shared.stages import StageName
from shared.tables import Job, Outbox, StageRun
from shared.tracing import current_traceparent

LOOK_AT_UNSENT_AFTER = timedelta(hours=1)
"""When the reaper looks whether a message still waits to be sent: never needed, but that bugs and people lose rows."""


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
            look_again_at=func.now() + LOOK_AT_UNSENT_AFTER,
            publications=StageRun.publications + 1,
            traceparent=func.coalesce(current_traceparent(), StageRun.traceparent),
        )
        .returning(StageRun.stage, StageRun.traceparent)
    )
    traces: dict[StageName, str | None] = {stage: traceparent for stage, traceparent in published}  # noqa: C416
    turn_at = select(Job.turn_at).where(Job.id == job_id).scalar_subquery()
    message = {"job_id": job_id, "priority": priority, "turn_at": turn_at}
    session.execute(
        insert(Outbox).values([{**message, "stage": name, "traceparent": traces.get(name)} for name in names])
    )
    notify_outbox(session)
