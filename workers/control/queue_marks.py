"""Marks in the queue: the place of every thousandth open job, so that nobody counts a hundred thousand to tell one.

Callers ask for their place all the time, and a place far back is of use when it is some seconds old. One process
counts for all gateways; the time between two counts grows with what one takes.
"""

from __future__ import annotations

import threading
import time

from sqlalchemy import Engine, text

from shared.database import transaction
from shared.errors import TransientFault
from shared.telemetry import get_logger

_log = get_logger()
_LEAST_PAUSE_S = 5.0
_LONGEST_PAUSE_S = 20.0  # well under the age up to which gateways trust a mark
_SHARE_OF_TIME = 0.02
_LOCK = 7_259_311
_EVERY = 1000

_TAKE_TURN = text("SELECT pg_try_advisory_xact_lock(:lock)")
_FORGET = text("DELETE FROM queue_marks")
_MARK = text(
    """
    INSERT INTO queue_marks (state, place, turn_at, job_id)
    SELECT state, place, turn_at, id FROM (
        SELECT state, turn_at, id, row_number() OVER (PARTITION BY state ORDER BY turn_at, id) AS place
        FROM jobs WHERE finished_at IS NULL
    ) AS placed
    WHERE place % :every = 0
    """
)


class QueueMarks:
    """Marks the queue anew every few seconds. Any number may run: one at a time does it."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def run(self, stopped: threading.Event) -> None:
        """Mark until told to stop; a fault of the database is waited out."""
        pause_s = 0.0
        while not stopped.wait(pause_s):
            begun = time.monotonic()
            try:
                self.mark()
            except TransientFault as fault:
                _log.warning("marking of the queue waits", reason=str(fault))
            took_s = time.monotonic() - begun
            pause_s = min(_LONGEST_PAUSE_S, max(_LEAST_PAUSE_S, took_s / _SHARE_OF_TIME))

    def mark(self, *, every: int = _EVERY) -> bool:
        """Mark once; False where another process is at it."""
        with transaction(self._engine) as session:
            if not session.scalar(_TAKE_TURN, {"lock": _LOCK}):
                return False
            session.execute(_FORGET)
            session.execute(_MARK, {"every": every})
        return True
