"""What is measured: look-ups of callers through a gateway, and what workers and control do on the database."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import timedelta
from itertools import cycle

from celery import Celery
from sqlalchemy import text

from benchmarks.scale.databases import Database
from shared.database import transaction
from shared.stages import StageName
from shared.storage import ObjectStore
from workers.control.queue_marks import QueueMarks
from workers.control.reaper import Reaper
from workers.control.relay import Relay
from workers.control.retention import Retention
from workers.reuse import EarlierAnswers
from workers.runtime.celery_app import make_celery
from workers.runtime.completion import complete_from_earlier
from workers.runtime.lease import claim, release, renew

Times = Iterator[float]
_LEASE = timedelta(seconds=30)


@dataclass(frozen=True)
class Operation:
    """One kind of work. `limit_ms` is what its p95 may take on the full database, where one is promised."""

    name: str
    sample: Callable[[Database], Times]
    limit_ms: float | None = None
    rounds: int = 40


def _poll(where: str) -> Callable[[Database], Times]:
    def sample(database: Database) -> Times:
        for job_id in cycle(database.pick_jobs(where)):
            yield _get(database, f"/v1/jobs/{job_id}")

    return sample


def _list(query: str) -> Callable[[Database], Times]:
    def sample(database: Database) -> Times:
        while True:
            yield _get(database, f"/v1/jobs{query}")

    return sample


def _list_from_the_middle(database: Database) -> Times:
    for moment in cycle(database.pick_times()):
        yield _get(database, "/v1/jobs", created_before=moment)


def _get(database: Database, path: str, **params: str) -> float:
    begun = time.perf_counter()
    answer = database.http.get(path, params=params) if params else database.http.get(path)
    elapsed = time.perf_counter() - begun
    if answer.status_code != 200:
        raise SystemExit(f"{path} was answered with {answer.status_code}: {answer.text}")
    return elapsed


def _claim(database: Database) -> Times:
    """Look for an earlier answer and claim, as the runtime does for each message; the stage goes back afterwards."""
    earlier = EarlierAnswers(database.settings)
    for job_id in cycle(database.pick_jobs("state = 'queued'")):
        begun = time.perf_counter()
        with transaction(database.engine) as session:
            complete_from_earlier(session, job_id, StageName.INTAKE, earlier)
        with transaction(database.engine) as session:
            lease = claim(session, job_id, StageName.INTAKE, worker="scale", duration=_LEASE)
        elapsed = time.perf_counter() - begun
        assert lease is not None
        with transaction(database.engine) as session:
            renew(session, lease, _LEASE)
            release(session, lease)
        yield elapsed


def _relay(database: Database) -> Times:
    """Send a batch as control does; yields seconds for each message. The broker is emptied between."""
    with closing(make_celery(database.settings)) as app:
        relay = Relay(database.engine, app, database.settings)
        while True:
            _empty_broker(app)
            before = _count(database, "outbox")
            begun = time.perf_counter()
            relay.relay_batch()
            elapsed = time.perf_counter() - begun
            sent = before - _count(database, "outbox")
            _write_again(database)
            if not sent:
                return
            yield elapsed / sent


def _write_again(database: Database) -> None:
    """Put messages that were sent back into the outbox, as if their stages had become ready just now."""
    with transaction(database.engine) as session:
        session.execute(
            text(
                "INSERT INTO outbox (job_id, stage, priority, turn_at) SELECT job_id, stage, priority, turn_at "
                "FROM stage_runs JOIN jobs ON jobs.id = job_id WHERE stage_runs.state = 'ready' "
                "AND look_again_at < now() + interval '1 minute'"
            )
        )
        session.execute(
            text(
                "UPDATE stage_runs SET look_again_at = now() + interval '1 hour' "
                "WHERE state = 'ready' AND look_again_at < now() + interval '1 minute'"
            )
        )


def _empty_broker(app: Celery) -> None:
    with app.connection_for_write() as connection:
        connection.default_channel.client.flushdb()


def _count(database: Database, table: str) -> int:
    with transaction(database.engine) as session:
        return int(session.scalar(text(f"SELECT count(*) FROM {table}")) or 0)


def _reap(database: Database) -> Times:
    reaper = Reaper(database.engine, database.settings)
    while True:
        begun = time.perf_counter()
        reaper.reap()
        yield time.perf_counter() - begun


def _mark(database: Database) -> Times:
    marks = QueueMarks(database.engine)
    while True:
        begun = time.perf_counter()
        while not marks.mark():  # control is at it
            begun = time.perf_counter()
        yield time.perf_counter() - begun


def _retain(database: Database) -> Times:
    """Remove one upload whose time has come; its object is gone already, which costs the same request."""
    settings = database.settings.model_copy(update={"upload_retention": timedelta(hours=20)})
    retention = Retention(database.engine, ObjectStore(settings), settings)
    while True:
        begun = time.perf_counter()
        removed = retention.enforce(most=20)
        if not removed:
            return
        yield (time.perf_counter() - begun) / removed


OPERATIONS = (
    Operation("mark the queue", _mark, rounds=10),
    Operation("poll a waiting job", _poll("finished_at IS NULL"), 50, rounds=200),
    Operation("poll an ended job", _poll("finished_at IS NOT NULL"), 50, rounds=200),
    Operation("list, newest first", _list(""), 100, rounds=100),
    Operation("list a page of 100", _list("?limit=100"), None),
    Operation("list from any time back", _list_from_the_middle, 100),
    Operation("list failed jobs", _list("?state=failed"), 100),
    Operation("list by label", _list("?label=site=ward-3&state=queued"), None),
    Operation("list by study", _list("?study_uid=1.2.826.0.1.7"), 100),
    Operation("claim a stage", _claim, 50, rounds=200),
    Operation("relay a message", _relay),
    Operation("one look of the reaper", _reap),
    Operation("expire an artefact", _retain, rounds=20),
)
