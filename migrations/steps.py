"""Steps of migrations that run while others work on the tables."""

from __future__ import annotations

import time

from alembic import op
from psycopg2.errors import DeadlockDetected, LockNotAvailable
from sqlalchemy.exc import OperationalError

_MOST_TRIES = 20
_PAUSE_S = 0.5


def change_at_work(*statements: str) -> None:
    """Run statements one after the other, each a transaction of its own, and again where its lock was not to be had.

    Two tables changed in one transaction wait for each other with everybody who writes into both. A migration that
    breaks off begins again, so each statement must do no harm when it is run once more.
    """
    with op.get_context().autocommit_block():
        for statement in statements:
            _run_patiently(statement)


def _run_patiently(statement: str) -> None:
    for left in reversed(range(_MOST_TRIES)):
        try:
            op.execute(statement)
        except OperationalError as error:
            if not isinstance(error.orig, (LockNotAvailable, DeadlockDetected)) or not left:
                raise
            time.sleep(_PAUSE_S)
        else:
            return
