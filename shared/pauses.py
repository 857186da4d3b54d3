"""Models that the operator has paused: no further job runs them, and every result says so."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Mapped, Session, mapped_column

from shared.stages import StageName
from shared.tables import Base


class Pause(Base):
    """A stage that is not run for now. `reason` is the operator's, for operators: no result shows it."""

    __tablename__ = "pauses"

    stage: Mapped[StageName] = mapped_column(primary_key=True)
    reason: Mapped[str]
    paused_by: Mapped[str]
    paused_at: Mapped[datetime] = mapped_column(server_default=func.now())


def fetch_paused(session: Session) -> Collection[StageName]:
    """Return the stages that are paused now."""
    return frozenset(session.scalars(select(Pause.stage)))
