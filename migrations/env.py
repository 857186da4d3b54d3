"""Alembic's entry: runs migrations on one connection, one process at a time, while others work on the database."""

import time

from alembic import context
from sqlalchemy import Connection, create_engine, text
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
    engine = create_engine(context.config.attributes["database_url"], poolclass=NullPool)
    with engine.connect() as connection:
        _take_turn(connection)
        connection.execute(text(f"SET lock_timeout = '{_LOCK_TIMEOUT_S}s'"))
        connection.commit()
        context.configure(
            connection=connection, target_metadata=Base.metadata, compare_type=True, transaction_per_migration=True
        )
        with context.begin_transaction():
            context.run_migrations()
    engine.dispose()


def _take_turn(connection: Connection) -> None:
    # Asked for again and again: whoever waits inside one statement would hold up the building of indexes for ever.
    while not connection.scalar(text("SELECT pg_try_advisory_lock(:lock)"), {"lock": _ADVISORY_LOCK}):
        connection.commit()
        time.sleep(_LOOK_EVERY_S)
    connection.commit()


run_migrations()
