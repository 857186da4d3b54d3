"""Rows out of and into a database by COPY, so that no program of PostgreSQL is needed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import psycopg2
from psycopg2 import sql
from psycopg2.extensions import connection as Connection  # noqa: N812  # a class under a lower-case name
from psycopg2.extensions import cursor as Cursor  # noqa: N812  # and another
from sqlalchemy import Engine, select, text
from sqlalchemy.orm import Session

from deploy.backups.manifest import Manifest, TableFile, compute_sha256, place_table
from shared import access_tables, pauses, queue_tables, upload_tables
from shared.access_tables import Allowance
from shared.database import transaction
from shared.errors import Defect, TransientFault
from shared.problems import ProblemCode
from shared.queue_tables import QueueMark
from shared.storage import StoredObject
from shared.tables import Artefact, Base
from shared.upload_tables import Upload, UploadPart

_TABLES = (access_tables, pauses, queue_tables, upload_tables)  # known to `Base` once they are imported
_MADE_ANEW = {Allowance.__tablename__, QueueMark.__tablename__}
_MADE_AT_START = ("policies", "model_versions", "api_keys")
"""What a platform writes when it first starts: a backup brings its own."""

_FILLED = ("jobs", "audit_entries", "webhook_endpoints", "uploads", "erasures")
"""An installation with rows in one of these is in use."""


@contextmanager
def snapshot(engine: Engine) -> Iterator[Session]:
    """Open a transaction that sees one moment, for as long as it takes. Raises TransientFault as `transaction` does."""
    with transaction(engine) as session:
        session.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"))
        session.execute(text("SET LOCAL statement_timeout = 0"))
        yield session


def list_tables() -> list[str]:
    """Return the tables that are kept, those that others refer to first."""
    return [table.name for table in Base.metadata.sorted_tables if table.name not in _MADE_ANEW]


def write_rows(session: Session, folder: Path) -> list[TableFile]:
    """Copy every table into a file of its own."""
    return [_write_table(session, folder, name) for name in list_tables()]


def list_objects(session: Session) -> list[StoredObject]:
    """Return the objects that rows name, each once."""
    queries = (
        select(Artefact.key, Artefact.size_bytes, Artefact.sha256),
        select(UploadPart.key, UploadPart.size_bytes, UploadPart.sha256),
        select(Upload.key, Upload.size_bytes, Upload.sha256),
    )
    rows = (row for query in queries for row in session.execute(query))
    named = (StoredObject(key, size, sha256) for key, size, sha256 in rows if key is not None and sha256 is not None)
    return list({stored.key: stored for stored in named}.values())


def find_filled(session: Session) -> list[str]:
    """Return the tables whose rows say that an installation is in use."""
    return [name for name in _FILLED if session.execute(text(f"SELECT EXISTS (SELECT FROM {name})")).scalar_one()]  # noqa: S608  # names of ours


def read_rows(session: Session, folder: Path, manifest: Manifest) -> int:
    """Copy the rows of a backup into tables that are empty, and return how many those were."""
    for name in reversed(_MADE_AT_START):
        session.execute(text(f"DELETE FROM {name}"))  # noqa: S608  # a name of ours
    session.execute(text("SET LOCAL statement_timeout = 0"))
    for table in manifest.tables:
        _read_table(session, folder, table)
    return sum(table.rows for table in manifest.tables)


def _write_table(session: Session, folder: Path, name: str) -> TableFile:
    columns = [column.name for column in Base.metadata.tables[name].columns]
    path = place_table(folder, name)
    path.parent.mkdir(exist_ok=True)
    with path.open("wb") as stream, _cursor(session, name) as cursor:
        cursor.copy_expert(_compose(session, "COPY {} ({}) TO STDOUT", name, columns), stream)
        rows = cursor.rowcount
    return TableFile(name, columns, rows, compute_sha256(path) or "")


def _read_table(session: Session, folder: Path, table: TableFile) -> None:
    with place_table(folder, table.table).open("rb") as stream, _cursor(session, table.table) as cursor:
        cursor.copy_expert(_compose(session, "COPY {} ({}) FROM STDIN", table.table, table.columns), stream)
        for column in _list_counted(table.table):
            names = (sql.Literal(table.table), sql.Literal(column), sql.Identifier(column), sql.Identifier(table.table))
            cursor.execute(sql.SQL(_ADVANCE).format(*names))


_ADVANCE = "SELECT setval(pg_get_serial_sequence({}, {}), (SELECT coalesce(max({}), 0) + 1 FROM {}), false)"


def _list_counted(name: str) -> list[str]:
    """Return the columns that the database numbers by itself."""
    return [column.name for column in Base.metadata.tables[name].columns if column.identity is not None]


def _compose(session: Session, command: str, name: str, columns: Sequence[str]) -> str:
    composed = sql.SQL(command).format(sql.Identifier(name), sql.SQL(", ").join(map(sql.Identifier, columns)))
    return composed.as_string(_get_connection(session))


@contextmanager
def _cursor(session: Session, table: str) -> Iterator[Cursor]:
    """Open a cursor for COPY, which goes past SQLAlchemy: that would have named the errors."""
    try:
        with _get_connection(session).cursor() as cursor:
            yield cursor
    except (psycopg2.OperationalError, psycopg2.InterfaceError) as error:
        raise TransientFault(ProblemCode.DATABASE_UNAVAILABLE, f"database: {type(error).__name__}") from error
    except psycopg2.Error as error:  # its message may quote a row
        raise Defect(f"database: {type(error).__name__} ({error.pgcode}) in {table}") from error


def _get_connection(session: Session) -> Connection:
    connection: Connection = session.connection().connection.driver_connection  # type: ignore[assignment]  # psycopg2
    return connection
