"""The database: reachable, migrated, writable with our rights, and by the same clock."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from sqlalchemy import Engine, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from deploy.doctor.finding import Finding, broken, fine, odd, unknown
from deploy.doctor.reaching import Address, explain_silence
from shared import access_tables, pauses, queue_tables, upload_tables
from shared.database import SCHEMA_REVISION, fetch_schema_revision, transaction
from shared.errors import TransientFault
from shared.settings import Settings
from shared.tables import Base

_TABLES = (access_tables, pauses, queue_tables, upload_tables)  # known to `Base` once they are imported
_ADDED_ONLY = "audit_entries"
_POSTGRES_PORT = 5432
_NEARLY_ALL = 0.9
_SKEW_NOTICED_S, _SKEW_HARMS_S = 2.0, 60.0
_START = "Start PostgreSQL, or mend CTCLIP_DATABASE_URL."


def look_at_database(engine: Engine, settings: Settings) -> Iterator[Finding]:
    """Yield what was found about the database."""
    url = make_url(settings.database_url.get_secret_value())
    address = Address(url.host or "localhost", url.port or _POSTGRES_PORT)
    silence = explain_silence(address)
    if silence is not None:
        yield broken("reachable", f"The database is out of reach: {silence}.", _START)
        return
    try:
        with transaction(engine) as session:
            yield fine("reachable", f"PostgreSQL {_ask(session, 'SHOW server_version')} answers at {address}.")
            yield _look_at_schema(session)
            yield from _look_at_rights(session)
            yield _look_at_connections(session)
    except TransientFault as fault:
        yield broken("reachable", f"{address} answers, but no session came about: {_quote(fault)}", _START)


def look_at_clock(engine: Engine) -> Iterator[Finding]:
    """Yield how far the clock of this machine is from that of the database, which decides all times."""
    try:
        with transaction(engine) as session:
            before = datetime.now(UTC)
            told: datetime = session.execute(text("SELECT clock_timestamp()")).scalar_one()
            after = datetime.now(UTC)
    except TransientFault:
        yield unknown("skew", "The database was not asked for its time: it cannot be used.")
        return
    skew_s = (told - (before + (after - before) / 2)).total_seconds()
    yield judge_skew(skew_s)


def judge_skew(skew_s: float) -> Finding:
    """Return the finding on a clock that is behind the database's by so many seconds."""
    side = "behind" if skew_s > 0 else "ahead of"
    words = f"The clock of this machine is {abs(skew_s):.1f} s {side} that of the database."
    advice = "Synchronise both machines (NTP): tokens, signatures of webhooks and S3 requests go by the local clock."
    if abs(skew_s) >= _SKEW_HARMS_S:
        return broken("skew", words, advice, skew_s=skew_s)
    if abs(skew_s) >= _SKEW_NOTICED_S:
        return odd("skew", words, advice, skew_s=skew_s)
    return fine("skew", words, skew_s=skew_s)


def _look_at_schema(session: Session) -> Finding:
    found = fetch_schema_revision(session)
    if found == SCHEMA_REVISION:
        return fine("migrated", f"The schema is at revision {found}, which this version speaks.")
    told = f"The schema is at revision {found or 'none'}; this version speaks {SCHEMA_REVISION}."
    if found is not None and found > SCHEMA_REVISION:
        return broken("migrated", told, "Install the newer version here too: the database has been migrated by it.")
    return broken("migrated", told, "Migrate with the rights of the owner: python -m migrations", found=found)


def _look_at_rights(session: Session) -> Iterator[Finding]:
    if _ask(session, "SELECT pg_is_in_recovery()") or _ask(session, "SHOW transaction_read_only") == "on":
        yield broken(
            "writable", "The database takes no writes: a replica, or set read-only.", "Name the primary server."
        )
        return
    missing = [
        f"{right} on {table}"
        for table, rights in _list_rights().items()
        for right in rights
        if not session.scalar(_HAS_RIGHT, {"table": table, "right": right})
    ]
    user = _ask(session, "SELECT current_user")
    if missing:
        advice = f"As the owner of the tables: GRANT what is missing TO {user}; or migrate first."
        yield broken("privileges", f"{user} lacks {', '.join(missing[:4])}.", advice, missing=len(missing))
    else:
        yield fine("privileges", f"{user} may read and write all {len(Base.metadata.tables)} tables.")


# A table that is not there gives no row to say yes.
_HAS_RIGHT = text("SELECT has_table_privilege(oid, :right) FROM pg_class WHERE oid = to_regclass(:table)")


def _list_rights() -> dict[str, tuple[str, ...]]:
    every = ("SELECT", "INSERT", "UPDATE", "DELETE")
    return {name: every[:2] if name == _ADDED_ONLY else every for name in Base.metadata.tables}


def _look_at_connections(session: Session) -> Finding:
    used = int(str(_ask(session, "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'")))
    most = int(str(_ask(session, "SHOW max_connections")))
    told = f"{used} of {most} connections are taken."
    if used >= _NEARLY_ALL * most:
        return odd("connections", told, "Raise max_connections, or put a pooler before the database.", used=used)
    return fine("connections", told, used=used)


def _ask(session: Session, question: str) -> object:
    return session.execute(text(question)).scalar_one()


def _quote(fault: TransientFault) -> str:
    """Return what the server said in one line; it names user and database, never a password."""
    cause = fault.__cause__
    said = str(cause.orig if isinstance(cause, DBAPIError) else fault).strip().splitlines()
    return said[-1] if said else str(fault)
