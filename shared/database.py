"""Engine and sessions. One transaction per request or task, committed at the edge by `transaction`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from psycopg2.errors import ReadOnlySqlTransaction
from sqlalchemy import Engine, ExceptionContext, create_engine, event, text
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.orm import Session

from shared.errors import CommitInDoubt, TransientFault
from shared.problems import ProblemCode
from shared.settings import Settings

OUTBOX_CHANNEL = "ctclip_outbox"
"""Channel on which a commit that filled the outbox wakes the relay (LISTEN/NOTIFY)."""

DELIVERY_CHANNEL = "ctclip_deliveries"
"""Channel on which a commit that left something to tell wakes the delivery worker."""

SCHEMA_REVISION = "0014"
"""The Alembic revision that this code speaks."""

OLDER_REVISIONS = frozenset({"0001", "0002", "0003", "0004", "0005", "0006", "0007", "0008", "0010", "0011", "0013"})
"""Revisions that lack what this code needs. One that is not known here is newer, and takes nothing away from it."""

SWEEP_LOCK = 0x6374_636C_7377  # "ctclsw"
"""Advisory lock of whoever removes objects that no row names, and of whoever puts objects back before their rows."""

_STATEMENT_TIMEOUT_MS = 30_000
_CONNECT_TIMEOUT_S = 5
_POOL_TIMEOUT_S = 5


def make_engine(settings: Settings, *, pool_size: int = 5, application_name: str = "ctclip") -> Engine:
    """Return an engine whose waits are all limited."""
    engine = create_engine(
        settings.database_url.get_secret_value(),
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=_POOL_TIMEOUT_S,
        pool_pre_ping=True,
        # An error would quote the row, and with it the names of uploaded files.
        hide_parameters=True,
        connect_args={
            "connect_timeout": _CONNECT_TIMEOUT_S,
            "application_name": application_name,
            "options": f"-c statement_timeout={_STATEMENT_TIMEOUT_MS} -c timezone=UTC",
        },
    )
    event.listen(engine, "handle_error", _leave_read_only_server)
    return engine


def _leave_read_only_server(context: ExceptionContext) -> None:
    """Count a server that takes no writes as lost: after a failover, a new connection leads to one that does."""
    if isinstance(context.original_exception, ReadOnlySqlTransaction):
        context.is_disconnect = True


@contextmanager
def transaction(engine: Engine) -> Iterator[Session]:
    """Open a session, commit when the block ends well, roll back otherwise.

    Raises TransientFault(DATABASE_UNAVAILABLE) when the database cannot be reached or gave up: nothing of it stands.
    Raises CommitInDoubt (a TransientFault of the same code) when it may stand.
    """
    is_committing = False
    try:
        with Session(engine, expire_on_commit=False) as session, session.begin():
            yield session
            session.flush()  # what may still be refused is so before the commit
            is_committing = True
    except (OperationalError, InterfaceError, PoolTimeoutError) as error:
        raise _make_fault(f"database: {type(error).__name__}", is_committing) from error
    except DBAPIError as error:
        if error.connection_invalidated:
            raise _make_fault("database: connection lost", is_committing) from error
        raise


@contextmanager
def holding_lock(engine: Engine, lock: int) -> Iterator[bool]:
    """Hold an advisory lock through many transactions; False inside where somebody else has it.

    It is held by a connection outside of the pool and of any transaction, and ends with it, however the process ends.
    Raises TransientFault when the database cannot be reached.
    """
    with ExitStack() as stack:
        try:
            connection = stack.enter_context(engine.connect()).execution_options(isolation_level="AUTOCOMMIT")
            connection.detach()
            is_held = connection.scalar(text("SELECT pg_try_advisory_lock(:lock)"), {"lock": lock})
        except (OperationalError, InterfaceError, PoolTimeoutError) as error:
            raise _make_fault(f"database: {type(error).__name__}", is_committing=False) from error
        yield bool(is_held)


def _make_fault(message: str, is_committing: bool) -> TransientFault:
    return (CommitInDoubt if is_committing else TransientFault)(ProblemCode.DATABASE_UNAVAILABLE, message)


def notify_outbox(session: Session) -> None:
    """Wake the relay when this transaction commits."""
    session.execute(text(f"NOTIFY {OUTBOX_CHANNEL}"))


def notify_deliveries(session: Session) -> None:
    """Wake the delivery worker when this transaction commits."""
    session.execute(text(f"NOTIFY {DELIVERY_CHANNEL}"))


def fetch_schema_revision(session: Session) -> str | None:
    """Return the Alembic revision of the database, or None before the first migration."""
    if session.scalar(text("SELECT to_regclass('alembic_version')")) is None:
        return None
    revision: str | None = session.scalar(text("SELECT version_num FROM alembic_version"))
    return revision


def is_served_by(revision: str | None) -> bool:
    """Say whether a database at a revision has everything that this code reads and writes."""
    return revision is not None and revision not in OLDER_REVISIONS
