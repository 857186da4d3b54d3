"""Objects in storage that several jobs name: they go with the last row that names them."""

from __future__ import annotations

import uuid
from collections.abc import Sequence

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from shared.stages import StageName
from shared.tables import Artefact

_TURN = {stage: turn for turn, stage in enumerate(StageName)}


def hold_object(session: Session, key: str) -> None:
    """Keep an object from being removed until this transaction ends, after waiting for whoever is removing it now.

    Whoever holds several takes them by stage and by key, so that no two wait for each other.
    """
    session.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(key, 0))))


def fetch_in_turn(session: Session, job_id: uuid.UUID) -> Sequence[Artefact]:
    """Return the artefacts of a job in the order in which they may be held: uploads, then by stage, then by key."""
    artefacts = session.scalars(select(Artefact).where(Artefact.job_id == job_id)).all()
    return sorted(artefacts, key=lambda each: (-1 if each.stage is None else _TURN[each.stage], each.key))


def is_shared(session: Session, artefact: Artefact) -> bool:
    """Say whether another job's row names the object. Who removes the last of them waits here until it is the last."""
    hold_object(session, artefact.key)
    others = select(Artefact.id).where(Artefact.key == artefact.key, Artefact.id != artefact.id)
    return session.scalar(others.limit(1)) is not None
