"""Two databases on one server, the full one and the empty one, each with a gateway of its own."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property

import httpx
import psycopg2
from sqlalchemy import Engine, text
from sqlalchemy.engine import make_url

from benchmarks.scale.filling import TENANT
from deploy.embedded.servers import ServerSet
from migrations import upgrade
from shared.database import make_engine, transaction
from shared.settings import Settings
from shared.storage import ObjectStore
from workers.control.queue_marks import QueueMarks

_START_LIMIT_S = 60
_SAMPLED = 400


@dataclass
class Database:
    """One database, and the way to it through a gateway."""

    name: str
    settings: Settings
    environment: Mapping[str, str]
    port: int = 0
    is_new: bool = True

    @property
    def url(self) -> str:
        """Address for psycopg2."""
        url = make_url(self.settings.database_url.get_secret_value())
        return url.set(drivername="postgresql").render_as_string(hide_password=False)

    @cached_property
    def engine(self) -> Engine:
        """Engine as a worker or control has one."""
        return make_engine(self.settings, application_name="ctclip-scale")

    @cached_property
    def http(self) -> httpx.Client:
        """Client of the gateway."""
        return httpx.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=60)

    def pick_jobs(self, where: str) -> list[uuid.UUID]:
        """Return jobs of the benchmark's tenant, at random, that a condition holds for."""
        query = f"SELECT id FROM jobs WHERE tenant = '{TENANT}' AND {where} ORDER BY md5(id::text) LIMIT {_SAMPLED}"
        with transaction(self.engine) as session:
            return list(session.scalars(text(query)))

    def pick_times(self) -> list[str]:
        """Return times over the whole history."""
        query = f"SELECT created_at FROM jobs ORDER BY md5(id::text) LIMIT {_SAMPLED}"
        with transaction(self.engine) as session:
            return [moment.isoformat() for moment in session.scalars(text(query))]

    def make_policy(self) -> None:
        """Write what every job refers to."""
        with transaction(self.engine) as session:
            document = '{"threshold": 0.5, "minimum_models": 0}'
            session.execute(
                text(
                    "INSERT INTO policies (id, name, digest, document, is_active) VALUES ('default-1', 'default', '1', "
                    "CAST(:document AS jsonb), true)"
                ),
                {"document": document},
            )


def open_database(servers: ServerSet, name: str, broker_number: int) -> Database:
    """Return a database at the newest schema, made unless it is there, with a part of the broker for itself."""
    named = dict(servers.environment)
    url = make_url(named["CTCLIP_DATABASE_URL"])
    named["CTCLIP_DATABASE_URL"] = url.set(database=name).render_as_string(hide_password=False)
    named["CTCLIP_BROKER_URL"] = named["CTCLIP_BROKER_URL"].rsplit("/", 1)[0] + f"/{broker_number}"
    named["CTCLIP_STORAGE_BUCKET"] = name.replace("_", "-")
    is_new = _create(url.set(drivername="postgresql").render_as_string(hide_password=False), name)
    upgrade(named["CTCLIP_DATABASE_URL"])
    settings = Settings.model_validate({key.removeprefix("CTCLIP_").lower(): value for key, value in named.items()})
    ObjectStore(settings).ensure_bucket()
    database = Database(name, settings, named, is_new=is_new)
    if is_new:
        database.make_policy()
    return database


def _create(server_url: str, name: str) -> bool:
    """Make a database; False where it is there."""
    admin = psycopg2.connect(server_url)
    admin.autocommit = True
    try:
        with admin.cursor() as cursor:
            cursor.execute("SELECT 1 FROM pg_database WHERE datname = %s", (name,))
            if cursor.fetchone() is not None:
                return False
            cursor.execute(f"CREATE DATABASE {name}")
            return True
    finally:
        admin.close()


@contextmanager
def marking(database: Database) -> Iterator[None]:
    """Mark the queue every few seconds while the block runs, as control does."""
    stopped = threading.Event()
    thread = threading.Thread(target=QueueMarks(database.engine).run, args=(stopped,))
    thread.start()
    try:
        yield
    finally:
        stopped.set()
        thread.join()


@contextmanager
def serving(database: Database) -> Iterator[None]:
    """Run a gateway on a database while the block runs."""
    with socket.create_server(("127.0.0.1", 0)) as found:
        database.port = found.getsockname()[1]
    environment = {**os.environ, **database.environment, "CTCLIP_GATEWAY_PORT": str(database.port)}
    process = subprocess.Popen([sys.executable, "-m", "gateway"], env=environment, stderr=subprocess.DEVNULL)
    try:
        _wait_until_healthy(database)
        yield
    finally:
        database.http.close()
        process.terminate()
        process.wait(timeout=30)


def _wait_until_healthy(database: Database) -> None:
    deadline = time.monotonic() + _START_LIMIT_S
    while time.monotonic() < deadline:
        try:
            if database.http.get("/health").status_code == httpx.codes.OK:
                return
        except httpx.TransportError:
            time.sleep(0.1)
    raise SystemExit("The gateway did not start.")
