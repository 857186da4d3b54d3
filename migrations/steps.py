"""Steps of migrations that run while others work on the tables."""

from __future__ import annotations

import time
from collections.abc import Sequence

from alembic import op
from psycopg2.errors import DeadlockDetected, LockNotAvailable
from sqlalchemy.exc import OperationalError

_MOST_TRIES = 20
_PAUSE_S = 0.5


def build_index(name: str, definition: str) -> Sequence[str]:
    """Return the step that builds an index beside the work, once half of one from a try that broke off is gone."""
    return f"DROP INDEX CONCURRENTLY IF EXISTS {name}", f"CREATE INDEX CONCURRENTLY {name} ON {definition}"


def change_at_work(*steps: str | Sequence[str]) -> None:
    """Run statements one after the other, each a transaction of its own, and again where its lock was not to be had.

    A step of several statements is run again from its first. Two tables changed in one transaction wait for each other
    with everybody who writes into both. A migration that breaks off begins again, so each step must do no harm when it
    is run once more.
    """
    with op.get_context().autocommit_block():
        for step in steps:
            _run_patiently([step] if isinstance(step, str) else step)


def _run_patiently(statements: Sequence[str]) -> None:
    for left in reversed(range(_MOST_TRIES)):
        try:
            for statement in statements:
                op.execute(statement)
        except OperationalError as error:
            if not isinstance(error.orig, (LockNotAvailable, DeadlockDetected)) or not left:
                raise
            time.sleep(_PAUSE_S)
        else:
            return
