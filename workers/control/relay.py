"""The outbox relay: hands committed messages to the broker, at once when one is written."""

from __future__ import annotations

import threading
from contextlib import closing

import psycopg2
from celery import Celery
from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from shared.database import OUTBOX_CHANNEL, transaction
from shared.errors import TransientFault
from shared.metrics import OUTBOX_RELAYED
from shared.settings import Settings
from shared.tables import Outbox
from shared.telemetry import get_logger
from workers.runtime.celery_app import publish
from workers.runtime.listener import Listener

_log = get_logger()
_BATCH = 100
# A notification can be lost with its connection, so the relay also looks by itself.
_LOOK_EVERY_S = 1.0
_BACK_OFF_S = 2.0


class Relay:
    """Moves outbox rows to the broker. Any number may run: rows are locked while they are sent."""

    def __init__(self, engine: Engine, app: Celery, settings: Settings) -> None:
        self._engine = engine
        self._app = app
        self._settings = settings

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
                while self.relay_batch():
                    pass
                listener.wait(_LOOK_EVERY_S)

    def relay_batch(self) -> bool:
        """Send up to a hundred messages in the order of their writing; True if there may be more.

        A row is deleted in the transaction in which it was sent: a crash between sends it again, which is harmless.
        """
        with transaction(self._engine) as session:
            rows = self._lock_rows(session)
            for row in rows:
                publish(self._app, row.job_id, row.stage, row.priority, row.traceparent)
                session.delete(row)
                OUTBOX_RELAYED.labels(stage=row.stage).inc()
        return len(rows) == _BATCH

    def _lock_rows(self, session: Session) -> list[Outbox]:
        query = select(Outbox).order_by(Outbox.id).limit(_BATCH).with_for_update(skip_locked=True)
        return list(session.scalars(query))
