"""The outbox relay: hands committed messages to the broker, at once when one is written and there is room for it."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime, timedelta

import psycopg2
from celery import Celery
from sqlalchemy import Engine, delete, func, select, text, tuple_, update
from sqlalchemy.orm import Session

from shared.database import OUTBOX_CHANNEL, transaction
from shared.errors import TransientFault
from shared.metrics import OUTBOX_RELAYED
from shared.settings import Settings
from shared.stages import STAGES, StageName
from shared.states import StageState
from shared.tables import Outbox, StageRun
from shared.telemetry import get_logger
from shared.turns import compute_level
from workers.control.broker_room import BrokerRoom
from workers.runtime.celery_app import publish
from workers.runtime.listener import Listener

_log = get_logger()
_BATCH = 100
# A notification can be lost with its connection, so the relay also looks by itself.
_LOOK_EVERY_S = 1.0
_BACK_OFF_S = 2.0

LOST_AFTER = timedelta(seconds=15)
"""A message that was sent is written again after this while nobody has acted on it, then after twice as long."""

_LONGEST_DOUBLING = 8

_FIRSTS = text(
    """
    SELECT stage, first.*, now() AS now FROM unnest(CAST(:stages AS text[])) AS stage
    CROSS JOIN LATERAL (
        SELECT priority, turn_at FROM outbox WHERE outbox.stage = stage.stage ORDER BY turn_at, id LIMIT 1
    ) AS first
    """
)


@dataclass(frozen=True)
class _First:
    """The message of a stage whose turn it is: what it counts like now, and what the database's clock says."""

    stage: StageName
    level: int
    now: datetime


class Relay:
    """Moves outbox rows to the broker. Any number may run: rows are locked while they are sent."""

    def __init__(self, engine: Engine, app: Celery, settings: Settings) -> None:
        self._engine = engine
        self._app = app
        self._settings = settings
        self._room = BrokerRoom(app, settings.broker_window)

    def run(self, stopped: threading.Event) -> None:
        """Relay until told to stop; a fault of the broker or the database is waited out."""
        while not stopped.is_set():
            try:
                self._listen_and_relay(stopped)
            except (TransientFault, psycopg2.Error) as error:
                _log.warning("relay waits", reason=str(error).strip())
                stopped.wait(_BACK_OFF_S)

    def _listen_and_relay(self, stopped: threading.Event) -> None:
        with closing(Listener(self._settings, OUTBOX_CHANNEL)) as listener:
            while not stopped.is_set():
                while self.relay_batch() and not stopped.is_set():
                    pass
                listener.wait(_LOOK_EVERY_S)

    def relay_batch(self) -> bool:
        """Send up to a hundred messages of each stage, in the order of their turns; True if there may be more.

        Raises TransientFault when the broker is away; what it took before stays sent.
        """
        with transaction(self._engine) as session:
            firsts = _fetch_firsts(session)
        has_more = [self._relay_stage(first) for first in firsts if self._room.has_room(first.stage, first.level)]
        return any(has_more)

    def _relay_stage(self, first: _First) -> bool:
        """Send messages of one stage. A row is deleted in the transaction in which it was sent.

        A crash between sends it again, which is harmless.
        """
        with transaction(self._engine) as session:
            sent, fault = self._send(_lock_rows(session, first.stage), first.now)
            _settle(session, sent)
        if fault is not None:
            raise fault
        return len(sent) == _BATCH

    def _send(self, rows: Sequence[Outbox], now: datetime) -> tuple[list[Outbox], TransientFault | None]:
        """Send rows while the broker has room and takes them; return those that it took, and what ended it."""
        sent: list[Outbox] = []
        for row in rows:
            level = _get_level(row.priority, row.turn_at, now)
            try:
                if not self._room.take(row.stage, level):
                    break
                # As what it counts like now: in the broker too, who has waited passes who has not.
                publish(self._app, row.job_id, row.stage, level, row.traceparent)
            except TransientFault as fault:
                return sent, fault
            OUTBOX_RELAYED.labels(stage=row.stage).inc()
            sent.append(row)
        return sent, None


def _fetch_firsts(session: Session) -> list[_First]:
    rows = session.execute(_FIRSTS, {"stages": list(map(str, STAGES))})
    return [_First(StageName(row.stage), _get_level(row.priority, row.turn_at, row.now), row.now) for row in rows]


def _get_level(priority: int, turn_at: datetime, now: datetime) -> int:
    return max(priority, compute_level(now - turn_at))


def _lock_rows(session: Session, stage: StageName) -> Sequence[Outbox]:
    query = select(Outbox).where(Outbox.stage == stage).order_by(Outbox.turn_at, Outbox.id).limit(_BATCH)
    return session.scalars(query.with_for_update(skip_locked=True)).all()


def _settle(session: Session, sent: Sequence[Outbox]) -> None:
    """Remove what was sent, and have the reaper look again when it must have been acted on."""
    if not sent:
        return
    session.execute(delete(Outbox).where(Outbox.id.in_([row.id for row in sent])))
    doublings = func.least(StageRun.publications - 1, _LONGEST_DOUBLING)
    session.execute(
        update(StageRun)
        .where(tuple_(StageRun.job_id, StageRun.stage).in_([(row.job_id, row.stage) for row in sent]))
        .where(StageRun.state == StageState.READY)
        .values(published_at=func.now(), look_again_at=func.now() + LOST_AFTER * func.power(2, doublings))
        .execution_options(synchronize_session=False)
    )
