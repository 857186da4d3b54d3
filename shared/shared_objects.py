"""Objects in storage that several jobs name: they go with the last row that names them."""

from __future__ import annotations

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from shared.tables import Artefact


def is_shared(session: Session, artefact: Artefact) -> bool:
    """Say whether another job's row names the object. Who removes the last of them waits here until it is the last."""
    session.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(artefact.key, 0))))
    others = select(Artefact.id).where(Artefact.key == artefact.key, Artefact.id != artefact.id)
    return session.scalar(others.limit(1)) is not None
