"""Rows of events."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import BigInteger, Integer, Select, Uuid, column, select, true, values
from sqlalchemy.orm import Session, aliased

from gateway.events.schemas import TOLD
from shared.states import JobState
from shared.tables import Event, Job


@dataclass(frozen=True)
class Reader:
    """Who reads the events of a job, and up to which one they have."""

    job_id: uuid.UUID
    after: int


@dataclass(frozen=True)
class News:
    """What came for a reader. `has_ended`: nothing will come after it, or the job is gone."""

    events: Sequence[Event]
    has_ended: bool


def fetch_events(session: Session, reader: Reader, limit: int) -> Sequence[Event]:
    """Return up to `limit` events of a job behind a place, in their order."""
    query = select(Event).where(Event.job_id == reader.job_id, Event.id > reader.after, Event.type.in_(TOLD))
    return session.scalars(query.order_by(Event.id).limit(limit)).all()


def fetch_news(session: Session, readers: Mapping[int, Reader], limit: int) -> dict[int, News]:
    """Return what is new for each of many readers, up to `limit` events for each.

    The states are read first: whatever is told of an ended job was committed when it ended.
    """
    states = _fetch_states(session, {reader.job_id for reader in readers.values()})
    found: dict[int, list[Event]] = {number: [] for number in readers}
    for number, event in session.execute(_select_news(readers, limit)):
        found[number].append(event)
    return {
        number: News(events, has_ended=len(events) < limit and _is_over(states.get(readers[number].job_id)))
        for number, events in found.items()
    }


def _select_news(readers: Mapping[int, Reader], limit: int) -> Select[int, Event]:
    asked = values(column("number", Integer), column("job_id", Uuid), column("after", BigInteger), name="asked")
    asked = asked.data([(number, reader.job_id, reader.after) for number, reader in readers.items()])
    of_reader = (
        select(Event)
        .where(Event.job_id == asked.c.job_id, Event.id > asked.c.after, Event.type.in_(TOLD))
        .order_by(Event.id)
        .limit(limit)
        .lateral("of_reader")
    )
    event = aliased(Event, of_reader)
    return select(asked.c.number, event).select_from(asked).join(of_reader, true()).order_by(event.id)


def _fetch_states(session: Session, job_ids: set[uuid.UUID]) -> dict[uuid.UUID, JobState]:
    rows = session.execute(select(Job.id, Job.state).where(Job.id.in_(job_ids)))
    return {job_id: state for job_id, state in rows}  # noqa: C416  # rows are not plain tuples to mypy


def _is_over(state: JobState | None) -> bool:
    return state is None or state.is_terminal
