"""F4 to F8: the broker away, emptied and repeating itself; PostgreSQL killed, cut off and out of connections."""

from __future__ import annotations

import signal
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial

import psycopg2
import redis
from sqlalchemy import func, make_url, select, text

from shared.database import transaction
from shared.stages import StageName
from shared.states import StageState
from shared.tables import Outbox, StageRun
from tests.faults.kills import STAGES_KILLED
from tests.faults.platform import WORKER_OF, FaultyPlatform
from tests.faults.proxy import Conditions
from tests.faults.row import RECOVERY_LIMIT_S, Outcome, Row, await_recovery, expect_result
from tests.faults.test_worker_kills import is_blocked, writes_blocked
from tests.stack.running import wait_until
from workers.runtime.celery_app import count_all_messages, publish

_AWAY_S = 5
_REFUSALS = 20
_MOST_WAITING = 100
_REFUSAL_LIMIT_S = 1.0
_TABLES = {StageName.INTAKE: "upload_files", StageName.MEDNEXT: "features", StageName.FUSION: "results"}


def take_the_broker_away(conditions: Conditions, platform: FaultyPlatform) -> Outcome:
    with platform.broker.under(conditions):
        jobs = [platform.submit() for _ in range(3)]
        time.sleep(_AWAY_S)
        with transaction(platform.stack.engine) as session:
            unsent = session.scalar(select(func.count()).select_from(Outbox).where(Outbox.job_id.in_(jobs)))
        assert unsent == len(jobs)
    since = time.monotonic()
    expect_result(platform, *jobs)
    return Outcome("three submissions were accepted and waited in the outbox", time.monotonic() - since)


def empty_the_broker(platform: FaultyPlatform) -> Outcome:
    with platform.paused("worker-intake"):
        jobs = [platform.submit() for _ in range(3)]
        platform.await_sent(*jobs)
        with redis.Redis.from_url(platform.settings.broker_url.get_secret_value()) as client:
            client.flushall()
        since = time.monotonic()
    expect_result(platform, *jobs)
    recovery_s = time.monotonic() - since
    assert recovery_s <= RECOVERY_LIMIT_S
    return Outcome("the reaper wrote three lost messages again, from rows", recovery_s)


def kill_the_broker(platform: FaultyPlatform) -> Outcome:
    jobs = [platform.submit() for _ in range(3)]
    platform.kill("broker")
    since = time.monotonic()
    expect_result(platform, *jobs)
    return Outcome("it came back, the workers with it", time.monotonic() - since)


def repeat_every_message(platform: FaultyPlatform) -> Outcome:
    """Every message of five jobs comes again and again, as fast as workers take them, until they have ended."""
    jobs = [platform.submit() for _ in range(5)]
    sent = 0
    while open_stages := _find_open_stages(platform, jobs):
        for job_id, stage in open_stages:
            publish(platform.app, job_id, stage, 5)
        sent += len(open_stages)
        wait_until(lambda: sum(count_all_messages(platform.app).values()) < _MOST_WAITING, "few messages wait")
    expect_result(platform, *jobs)
    for job_id in jobs:
        assert [platform.fetch_run(job_id, stage).attempt for stage in STAGES_KILLED] == [1, 1, 1]
    return Outcome(f"{sent} repeated messages for five jobs: each stage was claimed once")


def _find_open_stages(platform: FaultyPlatform, jobs: list[uuid.UUID]) -> list[tuple[uuid.UUID, StageName]]:
    states = (StageState.READY, StageState.LEASED, StageState.WAITING)
    query = select(StageRun.job_id, StageRun.stage).where(StageRun.job_id.in_(jobs), StageRun.state.in_(states))
    with transaction(platform.stack.engine) as session:
        return [(row.job_id, row.stage) for row in session.execute(query)]


def lose_the_database_at_the_commit(stage: StageName, way: str, platform: FaultyPlatform) -> Outcome:
    """The worker's last transaction is under way when its connection, or the whole server, goes."""
    engine, worker = platform.stack.engine, WORKER_OF[stage]
    with suppress(Exception), writes_blocked(engine, _TABLES[stage]):  # the lock goes with a killed server
        job_id = platform.submit()
        wait_until(lambda: is_blocked(engine, _TABLES[stage]), f"{stage} is in its last transaction")
        if way == "server killed":
            platform.kill("postgres")
        elif way == "server stopped":
            platform.kill("postgres", signal.SIGINT)
        else:
            _end_connections(platform, worker)
    since = time.monotonic()
    wait_until(lambda: _answers(platform), "the database is back")
    recovery_s = await_recovery(platform, job_id, stage, since)
    expect_result(platform, job_id)
    run = platform.fetch_run(job_id, stage)
    assert run.attempt == 1 + run.transient_faults + run.lost_workers
    return Outcome(f"no half result; the stage ended in attempt {run.attempt}", recovery_s)


def _end_connections(platform: FaultyPlatform, worker: str) -> None:
    query = text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = :name")
    with platform.stack.engine.connect() as connection:
        connection.execute(query, {"name": f"ctclip-{worker}"})


def _answers(platform: FaultyPlatform) -> bool:
    platform.stack.engine.dispose()
    try:
        with platform.stack.engine.connect() as connection:
            return bool(connection.scalar(text("SELECT 1")))
    except Exception:  # noqa: BLE001  # however it fails, it is not back
        return False


def cut_the_database(platform: FaultyPlatform) -> Outcome:
    """Every connection of every process is cut ten times while three jobs run."""
    jobs = [platform.submit() for _ in range(3)]
    since = time.monotonic()
    cut = 0
    for _ in range(10):
        cut += platform.database.cut()
        time.sleep(0.3)
    expect_result(platform, *jobs)
    return Outcome(f"{cut} connections were cut; each job has one result", time.monotonic() - since)


def take_every_connection(platform: FaultyPlatform) -> Outcome:
    http = platform.stack.http
    running = platform.submit()
    with ExitStack() as taken:
        with platform.database.under(Conditions(refuses=True)):  # so that what the platform holds comes free
            taken.enter_context(connections_taken(platform))
        body = platform.study.read_bytes()
        answers = [http.post("/v1/jobs", params={"models": "mednext"}, content=body) for _ in range(_REFUSALS)]
        health, ready = http.get("/health"), http.get("/readyz")
    assert {answer.status_code for answer in answers} == {503}, [answer.text for answer in answers]
    assert all("retry-after" in answer.headers for answer in answers)
    assert (health.status_code, ready.status_code) == (200, 503)
    longest_s = max(answer.elapsed.total_seconds() for answer in (*answers, health, ready))
    assert longest_s < _REFUSAL_LIMIT_S, longest_s
    since = time.monotonic()
    expect_result(platform, running)
    wait_until(lambda: http.get("/readyz").is_success, "the gateway is ready again")
    expect_result(platform, platform.submit())
    told = f"{_REFUSALS} submissions got 503 with `Retry-After`, the slowest answer took {longest_s:.2f} s"
    return Outcome(told, time.monotonic() - since)


@contextmanager
def connections_taken(platform: FaultyPlatform) -> Iterator[None]:
    """Hold every connection that PostgreSQL gives, and take each that comes free."""
    url = make_url(platform.settings.database_url.get_secret_value()).set(drivername="postgresql")
    held: list[psycopg2.extensions.connection] = []
    is_full, is_done = threading.Event(), threading.Event()

    def take() -> None:
        while not is_done.wait(0.01):
            with suppress(psycopg2.OperationalError):
                while True:
                    held.append(psycopg2.connect(url.render_as_string(hide_password=False)))
            is_full.set()

    thread = threading.Thread(target=take)
    thread.start()
    try:
        assert is_full.wait(60), "PostgreSQL gives connections without end"
        time.sleep(1)  # what others held comes free, and is taken
        yield
    finally:
        is_done.set()
        thread.join()
        for connection in held:
            connection.close()


ROWS = (
    Row("F4", "broker gone", "connections refused, 5 s", partial(take_the_broker_away, Conditions(refuses=True))),
    Row("F4", "broker silent", "nothing passes, 5 s", partial(take_the_broker_away, Conditions(hangs=True))),
    Row("F5", "broker emptied", "messages sent, not taken", empty_the_broker, is_quick=True),
    Row("F5", "broker killed and started", "three jobs in work", kill_the_broker),
    Row("F6", "every message repeated", "all stages of five jobs", repeat_every_message, is_quick=True),
    *(
        Row("F7", f"PostgreSQL: {way}", f"commit of {stage}", partial(lose_the_database_at_the_commit, stage, way))
        for stage, way in (
            (StageName.INTAKE, "connection ended"),
            (StageName.MEDNEXT, "connection ended"),
            (StageName.FUSION, "connection ended"),
            (StageName.MEDNEXT, "server killed"),
            (StageName.FUSION, "server stopped"),
        )
    ),
    Row("F7", "PostgreSQL: connections cut ten times", "any transaction", cut_the_database),
    Row("F8", "PostgreSQL out of connections", "submissions, a job in work", take_every_connection),
)
