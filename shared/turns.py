"""Whose turn it is: priority and waiting weighed against each other, in one column that an index keeps in order.

A job's turn is its time of submission, moved forward by a fixed time for each step of priority. So urgent studies pass
others that came not long before them, and nobody waits for ever behind a stream of urgent ones. Pure.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, func

PRIORITY_STEP = timedelta(minutes=30)
"""How long a job must have waited to count as much as a new one of the next priority.

Nine steps are less than a job has by default (`CTCLIP_JOB_TIME_LIMIT`), so the least urgent comes to its turn too.
"""

HIGHEST_LEVEL = 9


def compute_turn(priority: int) -> ColumnElement[datetime]:
    """Return when the turn of a job is that comes now, by the database's clock."""
    return func.now() - priority * PRIORITY_STEP


def compute_level(waited: timedelta) -> int:
    """Return what a message counts like now, 0 to 9, that has been behind its turn for so long."""
    return max(0, min(HIGHEST_LEVEL, waited // PRIORITY_STEP))
