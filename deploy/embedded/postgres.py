"""PostgreSQL of one state folder: made once, listening on loopback only, entered with a password (scram)."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg2
from psycopg2 import sql
from psycopg2.extensions import connection as Connection  # noqa: N812  # a class under a lower-case name

from deploy.embedded.credentials import Credentials
from deploy.embedded.executables import find_postgres_program
from deploy.embedded.identity import PostgresIdentity, give_folder
from deploy.embedded.ports import LOOPBACK
from deploy.embedded.problems import StackProblem
from deploy.embedded.program import Program, StopTurn

NAME = "postgres"
DATABASE = "ctclip"

_INITDB_LIMIT_S = 60
_CONNECT_LIMIT_S = 2

_SETTINGS = {
    "listen_addresses": LOOPBACK,
    # TCP only: a socket's path would be bound to about 100 characters.
    "unix_socket_directories": "",
    "max_connections": "100",
    "shared_buffers": "64MB",
    "max_wal_size": "256MB",
    "fsync": "on",
    # Containers give /dev/shm 64 MB, which parallel queries can exceed; our queries are short.
    "max_parallel_workers_per_gather": "0",
    "jit": "off",
    "io_method": "sync",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_line_prefix": "%m [%p] ",
    # A statement and its details quote the row, and with it the names of uploaded files.
    "log_min_error_statement": "panic",
    "log_error_verbosity": "terse",
}


@dataclass(frozen=True)
class PostgresServer:
    """The cluster in `data_folder`, run under `identity`."""

    data_folder: Path
    port: int
    credentials: Credentials
    identity: PostgresIdentity

    @property
    def url(self) -> str:
        """SQLAlchemy's address of the platform's database."""
        user, password = self.credentials.postgres_user, self.credentials.postgres_password
        return f"postgresql+psycopg2://{user}:{password}@{LOOPBACK}:{self.port}/{DATABASE}"

    def create(self) -> None:
        """Make the cluster unless it is there; half a one from an interrupted start is made anew."""
        if (self.data_folder / "PG_VERSION").exists():
            give_folder(self.data_folder, self.identity)
            return
        draft = self.data_folder.with_name(f"{self.data_folder.name}.new")
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(mode=0o700)
        give_folder(draft, self.identity)
        self._run_initdb(draft)
        draft.replace(self.data_folder)

    def program(self) -> Program:
        """Return the server as the supervisor runs it."""
        options = [part for name, value in _SETTINGS.items() for part in ("-c", f"{name}={value}")]
        server = str(find_postgres_program("postgres"))
        return Program(
            name=NAME,
            command=(server, "-D", str(self.data_folder), "-p", str(self.port), *options),
            environment=_environment(),
            wrapper=self.identity.wrapper,
            data_folder=self.data_folder,
            is_ready=self.is_ready,
            stop_turn=StopTurn.SERVERS,
            # Fast stop: SIGTERM would wait until every client has gone.
            stop_signal=signal.SIGINT,
        )

    def is_ready(self) -> bool:
        """Say whether the server lets us in (the port opens before it does)."""
        try:
            self._connect("postgres").close()
        except psycopg2.OperationalError:
            return False
        return True

    def ensure_database(self) -> None:
        """Make the platform's database unless it is there."""
        connection = self._connect("postgres")
        try:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute("SELECT 1 FROM pg_database WHERE datname = %s", (DATABASE,))
                if cursor.fetchone() is None:
                    cursor.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(DATABASE)))
        finally:
            connection.close()

    def _connect(self, database: str) -> Connection:
        return psycopg2.connect(
            host=LOOPBACK,
            port=self.port,
            user=self.credentials.postgres_user,
            password=self.credentials.postgres_password,
            dbname=database,
            connect_timeout=_CONNECT_LIMIT_S,
        )

    def _run_initdb(self, folder: Path) -> None:
        with self._password_file() as password_file:
            done = subprocess.run(  # noqa: S603  # our own command line
                self._initdb_command(folder, password_file),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                env=_environment(),
                timeout=_INITDB_LIMIT_S,
                check=False,
            )
        if done.returncode != 0:
            reason = done.stderr.decode("utf-8", "replace").strip()
            raise StackProblem(f"PostgreSQL could not make its data folder {self.data_folder}:\n{reason}")

    def _initdb_command(self, folder: Path, password_file: Path) -> list[str]:
        return [
            *self.identity.wrapper,
            str(find_postgres_program("initdb")),
            f"--pgdata={folder}",
            f"--username={self.credentials.postgres_user}",
            f"--pwfile={password_file}",
            "--auth=scram-sha-256",
            "--encoding=UTF8",
            "--locale=C",
            "--no-instructions",
        ]

    @contextmanager
    def _password_file(self) -> Iterator[Path]:
        """Yield a file that the server's account alone can read; a pipe of ours it could not open."""
        path = self.data_folder.with_name(f"{self.data_folder.name}.password")
        path.unlink(missing_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            os.fchown(descriptor, self.identity.owner_uid, self.identity.owner_gid)
            with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
                stream.write(self.credentials.postgres_password)
            yield path
        finally:
            path.unlink()


def _environment() -> dict[str, str]:
    return {"PATH": os.environ.get("PATH", os.defpath), "LANG": "C", "LC_ALL": "C", "TZ": "UTC"}
