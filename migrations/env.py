"""Alembic's entry: runs migrations on one connection, one process at a time."""

from alembic import context
from sqlalchemy import create_engine, text

from shared import access_tables, upload_tables
from shared.tables import Base

# Any fixed number: all processes that migrate must agree on it.
_ADVISORY_LOCK = 7_259_310
_TABLES = (access_tables, upload_tables)  # tables that stand in modules of their own are known once these are imported


def run_migrations() -> None:
    """Migrate under an advisory lock, so that two starting processes do not collide."""
    engine = create_engine(context.config.attributes["database_url"])
    with engine.connect() as connection, connection.begin():
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _ADVISORY_LOCK})
        context.configure(connection=connection, target_metadata=Base.metadata, compare_type=True)
        context.run_migrations()
    engine.dispose()


run_migrations()
