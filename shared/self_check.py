"""The self-check as both sides see it: whose jobs they are, and how the last one ended."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from sqlalchemy import select
from sqlalchemy.orm import Session

from shared.events import EventType
from shared.tables import Document, Event, Job

SELF_CHECK_TENANT = "ctclip-self-check"
"""Whose jobs self-checks are: no key leads there, so callers never see them."""

_LATEST = 5


class SelfCheckState(StrEnum):
    """How a self-check ended, or that none has ended yet."""

    PASSED = "passed"
    FAILED = "failed"
    NOT_RUN = "not_run"


@dataclass(frozen=True)
class SelfCheckOutcome:
    """How the latest judged self-check ended. `facts` say against what it was held, and what differed."""

    state: SelfCheckState
    job_id: uuid.UUID | None = None
    at: datetime | None = None
    facts: Document | None = None


def fetch_self_check(session: Session) -> SelfCheckOutcome:
    """Return the latest outcome; `not_run` on a platform that is younger than a day."""
    latest = (
        select(Job.id).where(Job.tenant == SELF_CHECK_TENANT).order_by(Job.created_at.desc()).limit(_LATEST).subquery()
    )
    event = session.scalar(
        select(Event)
        .where(Event.job_id.in_(select(latest)), Event.type == EventType.SELF_CHECK)
        .order_by(Event.id.desc())
        .limit(1)
    )
    if event is None:
        return SelfCheckOutcome(SelfCheckState.NOT_RUN)
    return SelfCheckOutcome(SelfCheckState(str(event.state)), event.job_id, event.at, event.facts)
