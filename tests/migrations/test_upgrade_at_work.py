"""Migrations that run while the platform works: nobody is refused, nothing waits for long, and older versions go on."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from alembic.migration import MigrationContext
from alembic.operations import Operations
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.pool import NullPool

from migrations import upgrade
from migrations.steps import build_index, change_at_work
from shared.database import OLDER_REVISIONS, SCHEMA_REVISION, is_served_by, transaction
from shared.settings import Settings
from tests.stack.running import wait_until
from tests.workers.control.own_database import own_database

BEFORE = "0008"
LONGEST_WAIT = timedelta(seconds=5)

# What a version of that time says, word by word: it knows of no later column.
_POLICY = "INSERT INTO policies (id, name, digest, document) VALUES ('old-1', 'old', '1', '{}')"
_JOB = """
    INSERT INTO jobs (id, state, policy_id, weights_profile, deadline_at)
    VALUES (:id, 'queued', 'old-1', 'demo', now() + interval '1 hour')
"""
_STAGE = """
    INSERT INTO stage_runs (job_id, stage, state, next_attempt_at) VALUES (:id, 'intake', 'ready', now())
"""
_MESSAGE = "INSERT INTO outbox (job_id, stage, priority) VALUES (:id, 'intake', 5)"
_CLAIM = """
    UPDATE stage_runs SET state = 'leased', lease_token = gen_random_uuid(), lease_expires_at = now() + interval '30 s',
    attempt = attempt + 1, started_at = now() WHERE job_id = :id AND stage = 'intake' AND state = 'ready'
"""
_COMPLETE = "UPDATE stage_runs SET state = 'succeeded', finished_at = now() WHERE job_id = :id AND stage = 'intake'"
_SENT = "DELETE FROM outbox WHERE job_id = :id"
_END = "UPDATE jobs SET state = 'completed', finished_at = now() WHERE id = :id"


class OlderVersion:
    """Accepts, claims and ends jobs by its own statements, one job after the other, until told to stop."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._work)
        self.jobs = 0
        self.longest_s = 0.0
        self.error: Exception | None = None

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join(60)

    def _work(self) -> None:
        try:
            while not self._stopped.is_set():
                self._bring_one_through()
        except Exception as error:  # noqa: BLE001  # the test asks for it
            self.error = error

    def _bring_one_through(self) -> None:
        job = {"id": uuid.uuid4()}
        for statements in ((_JOB, _STAGE, _MESSAGE), (_CLAIM,), (_SENT, _COMPLETE, _END)):
            begun = time.monotonic()
            with transaction(self._engine) as session:
                for statement in statements:
                    assert session.execute(text(statement), job).rowcount == 1  # type: ignore[attr-defined]  # a change
            self.longest_s = max(self.longest_s, time.monotonic() - begun)
        self.jobs += 1


def is_at(engine: Engine, statement: str) -> bool:
    """Say whether some connection runs a statement that looks so."""
    query = text("SELECT count(*) FROM pg_stat_activity WHERE query LIKE :statement AND state = 'active'")
    with transaction(engine) as session:
        return bool(session.scalar(query, {"statement": statement}))


@pytest.fixture
def older(settings: Settings) -> Iterator[tuple[Settings, Engine]]:
    with own_database(settings, BEFORE) as (own, engine):
        with transaction(engine) as session:
            session.execute(text(_POLICY))
        yield own, engine


class TestAnUpgrade:
    def test_goes_on_beside_an_older_version_that_works(self, older: tuple[Settings, Engine]) -> None:
        settings, engine = older
        versions = [OlderVersion(engine) for _ in range(2)]
        for version in versions:
            version.start()
        upgrade(settings.database_url.get_secret_value())
        done = [version.jobs for version in versions]
        time.sleep(0.3)  # the older version goes on at the newest schema
        for version in versions:
            version.stop()
        assert [version.error for version in versions] == [None, None]
        assert all(version.jobs > before for version, before in zip(versions, done, strict=True))
        assert max(version.longest_s for version in versions) < LONGEST_WAIT.total_seconds()
        with transaction(engine) as session:
            assert session.scalar(text("SELECT count(*) FROM stage_runs WHERE state <> 'succeeded'")) == 0
            invalid = session.scalar(text("SELECT count(*) FROM pg_index WHERE NOT indisvalid"))
        assert invalid == 0

    def test_builds_an_index_anew_that_waited_too_long_for_its_table(self, engine: Engine) -> None:
        index = f"ix_{uuid.uuid4().hex}"
        impatient = create_engine(engine.url, poolclass=NullPool, connect_args={"options": "-c lock_timeout=100ms"})

        def build() -> None:
            with impatient.connect() as connection:
                context = MigrationContext.configure(connection, opts={"transaction_per_migration": True})
                with Operations.context(context), context.begin_transaction(_per_migration=True):
                    change_at_work(build_index(index, "policies (name)"))

        with ThreadPoolExecutor(1) as pool:
            with transaction(engine) as writer:
                writer.execute(text("LOCK TABLE policies IN ROW EXCLUSIVE MODE"))
                building = pool.submit(build)
                wait_until(lambda: building.done() or is_at(engine, f"DROP%{index}%"), "it is tried again", 30)
            building.result(30)
        with engine.begin() as connection:
            is_valid = text("SELECT indisvalid FROM pg_index WHERE indexrelid = CAST(:name AS regclass)")
            assert connection.scalar(is_valid, {"name": index})
            connection.execute(text(f"DROP INDEX {index}"))

    def test_makes_no_older_gateway_unready_and_every_newer_one_wait(self) -> None:
        assert is_served_by(SCHEMA_REVISION)
        assert is_served_by("9999")  # of a later version
        assert not any(map(is_served_by, [*OLDER_REVISIONS, None]))
