"""A real gateway on a database and a bucket of its own, and the rows that make it ready."""

from __future__ import annotations

import socket
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import httpx
import psycopg2
import pytest
from sqlalchemy import Engine, func, select
from sqlalchemy.engine import make_url

from deploy.embedded.servers import ServerSet
from gateway.__main__ import make_server
from migrations import upgrade
from shared.byte_units import MIB
from shared.database import make_engine, transaction
from shared.settings import Settings
from shared.stages import StageName
from shared.storage import ObjectStore
from shared.tables import Job, ModelVersion, Policy
from tests.stack.running import wait_until
from workers.control.sweeper import fetch_named_keys

UPLOAD_LIMIT_BYTES = 24 * MIB
ZIP = b"PK\x03\x04 the rest is for intake to judge"
POLICY = {"threshold": 0.59, "minimum_models": 0}


@dataclass(frozen=True)
class RunningGateway:
    """A gateway that serves."""

    port: int
    settings: Settings

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @cached_property
    def http(self) -> httpx.Client:
        return httpx.Client(base_url=self.url, timeout=60)

    def submit(self, content: bytes = ZIP, **headers: str) -> dict[str, Any]:
        answer = self.http.post("/v1/jobs", files={"file": ("study.zip", content)}, headers=headers)
        assert answer.status_code == 202, answer.text
        job: dict[str, Any] = answer.json()
        return job

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=30)


@contextmanager
def running_gateway(settings: Settings) -> Iterator[RunningGateway]:
    server = make_server(settings)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        running = RunningGateway(listener.getsockname()[1], settings)
        try:
            wait_until(lambda: server.started, "the gateway serves")
            yield running
        finally:
            running.http.close()
            server.should_exit = True
            thread.join(30)


@pytest.fixture(scope="session")
def settings(servers: ServerSet, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    database = f"gateway_{uuid.uuid4().hex[:8]}"
    named = {name.removeprefix("CTCLIP_").lower(): value for name, value in servers.environment.items()}
    url = make_url(named["database_url"])
    _create_database(url.set(drivername="postgresql").render_as_string(hide_password=False), database)
    return Settings.model_validate(
        {
            **named,
            "database_url": url.set(database=database).render_as_string(hide_password=False),
            "storage_bucket": database.replace("_", "-"),
            "upload_limit_bytes": UPLOAD_LIMIT_BYTES,
            "webhook_allowed_networks": "127.0.0.0/8",
            "cache_dir": tmp_path_factory.mktemp("cache"),
        }
    )


def _create_database(server_url: str, name: str) -> None:
    connection = psycopg2.connect(server_url)
    try:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(f"CREATE DATABASE {name}")
    finally:
        connection.close()


@pytest.fixture(scope="session")
def engine(settings: Settings) -> Iterator[Engine]:
    upgrade(settings.database_url.get_secret_value())
    engine = make_engine(settings, pool_size=20)
    with transaction(engine) as session:
        session.add(Policy(id="default-1", name="default", digest="1", document=POLICY, is_active=True))
        session.add(
            ModelVersion(
                stage=StageName.MEDNEXT,
                digest="d" * 64,
                version="1",
                weights_profile="demo",
                is_active=True,
                facts={"labels": ["pneumonia"]},
            )
        )
    yield engine
    engine.dispose()


@pytest.fixture(scope="session")
def store(settings: Settings) -> ObjectStore:
    """The bucket of these settings; that of the whole process may have been made for others."""
    store = ObjectStore(settings)
    store.ensure_bucket()
    return store


@pytest.fixture(scope="session")
def gateway(settings: Settings, engine: Engine, store: ObjectStore) -> Iterator[RunningGateway]:
    """One gateway for all tests that do not change it."""
    with running_gateway(settings) as running:
        yield running


@pytest.fixture
def leftovers(engine: Engine, store: ObjectStore) -> Callable[[], tuple[set[str], int]]:
    """Return a function that tells what came since the test began: objects that no row names, and how many jobs."""

    def count_jobs() -> int:
        with transaction(engine) as session:
            return session.scalar(select(func.count()).select_from(Job)) or 0

    def find_orphans() -> set[str]:
        written = {key for key, _ in store.iterate_keys()}
        with transaction(engine) as session:
            return written - fetch_named_keys(session).keys()

    # Other tests of this process use the same storage and leave what they like.
    jobs_before, orphans_before = count_jobs(), find_orphans()

    def look() -> tuple[set[str], int]:
        return find_orphans() - orphans_before, count_jobs() - jobs_before

    return look


NOTHING: tuple[set[str], int] = (set(), 0)
