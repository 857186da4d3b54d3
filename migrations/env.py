"""Alembic's entry: runs migrations on one connection, one process at a time, while others work on the database."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from alembic import context
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.pool import NullPool

from shared import access_tables, pauses, queue_tables, upload_tables
from shared.tables import Base

# Any fixed number: all processes that migrate must agree on it.
_ADVISORY_LOCK = 7_259_310
_TABLES = (access_tables, pauses, queue_tables, upload_tables)  # tables of these are known once they are imported
_LOCK_TIMEOUT_S = 10
_LOOK_EVERY_S = 0.1


def run_migrations() -> None:
    """Migrate under an advisory lock, so that two starting processes do not collide.

    Each migration is a transaction of its own, and may leave it to build an index without holding up who writes. A
    change of a table waits for its lock for seconds only: everybody else would wait behind it.
    """
    wait = {"options": f"-c lock_timeout={_LOCK_TIMEOUT_S}s"}
    engine = create_engine(context.config.attributes["database_url"], poolclass=NullPool, connect_args=wait)
    with _taking_turn(engine), engine.connect() as connection:
        context.configure(
            connection=connection, target_metadata=Base.metadata, compare_type=True, transaction_per_migration=True
        )
        with context.begin_transaction():
            context.run_migrations()
    engine.dispose()


@contextmanager
def _taking_turn(engine: Engine) -> Iterator[None]:
    """Hold the lock on a connection of its own, outside of any transaction.

    It is asked for again and again: whoever waits inside one statement would hold up the building of indexes for ever.
    """
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        while not connection.scalar(text("SELECT pg_try_advisory_lock(:lock)"), {"lock": _ADVISORY_LOCK}):
            time.sleep(_LOOK_EVERY_S)
        yield


run_migrations()
