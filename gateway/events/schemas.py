"""Bodies of events."""

from __future__ import annotations

import uuid
from datetime import datetime

from pydantic import BaseModel, Field

from shared.events import EventType
from shared.stages import StageName
from shared.tables import Event

TOLD = (EventType.JOB_STATE, EventType.STAGE_STATE, EventType.STAGE_PROGRESS)
"""What callers are told."""


class EventData(BaseModel):
    """What happened."""

    job_id: uuid.UUID
    stage: StageName | None
    state: str | None = Field(description="New state of the job or of the stage.")
    progress: float | None = Field(description="0..1, of a running stage.")
    at: datetime


class EventBody(EventData):
    """An event in a list."""

    id: int = Field(description="Sequence number; a stream resumes behind it by `Last-Event-ID`.")
    event: EventType


class EventList(BaseModel):
    """One page of events, in their order."""

    items: list[EventBody]
    next_cursor: str | None


def describe_event(event: Event) -> EventBody:
    """Return an event as callers see it."""
    return EventBody(
        id=event.id,
        event=EventType(event.type),
        job_id=event.job_id,
        stage=event.stage,
        state=event.state,
        progress=event.progress,
        at=event.at,
    )
