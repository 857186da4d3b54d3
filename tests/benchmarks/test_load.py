"""The load tool: arrivals that wait for nobody, times that hide no delay, and promises that are found broken."""

from __future__ import annotations

import asyncio
import itertools
import os
import statistics
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from sqlalchemy import Engine

from benchmarks.load.arrivals import Arrival, Target, draw_offsets, send_at
from benchmarks.load.figures import compute_latencies, compute_percentiles, count_answers, judge
from benchmarks.load.reckoning import Books, Ended, Reckoning
from benchmarks.load.watching import Watched, watched
from shared.acceptance import NewJob, StoredUpload, add_job
from shared.artefacts import UploadKind
from shared.database import transaction
from shared.endings import end_job
from shared.settings import Settings
from shared.stages import StageName
from shared.states import JobState
from shared.storage import ObjectStore
from shared.tables import Job, Policy, Result, StageRun
from tests.workers.control.own_database import own_database
from workers.control.sweeper import Reconciliation

CLEAN = Reconciliation(objects=(), rows=(), messages=0)
DELAY_S = 0.3
WATCHED_S = 5  # the watcher starts, and looks more than once


@contextmanager
def serving(status: int, body: bytes, headers: dict[str, str], delay_s: float = 0.0) -> Iterator[str]:
    """Run a server that answers everything alike, after a while, and yield its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("content-length", 0)))
            time.sleep(delay_s)
            self.send_response(status)
            for name, value in {**headers, "content-length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST  # noqa: N815  # the name is the library's

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the name is the library's
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


class TestArrivals:
    def test_come_at_their_rate_and_the_same_for_a_seed(self) -> None:
        offsets = draw_offsets(50.0, 100.0, seed=7)
        gaps = [later - earlier for earlier, later in itertools.pairwise(offsets)]
        assert len(offsets) == pytest.approx(5000, rel=0.1)
        assert statistics.stdev(gaps) == pytest.approx(statistics.mean(gaps), rel=0.1)  # as of a Poisson process
        assert offsets == draw_offsets(50.0, 100.0, seed=7) != draw_offsets(50.0, 100.0, seed=8)

    def test_wait_for_no_answer_and_count_from_when_they_were_due(self) -> None:
        with serving(202, b'{"id": "a"}', {}, DELAY_S) as url:
            arrivals = asyncio.run(send_at(Target(url, [b"PK"]), [0.0, 0.05, 0.1]))
        assert [arrival.status for arrival in arrivals] == [202] * 3
        assert all(arrival.sent_late_s < DELAY_S for arrival in arrivals)  # the first answer was not waited for
        assert all(arrival.answered_s >= DELAY_S for arrival in arrivals)

    def test_that_are_refused_or_not_answered_are_told_apart(self) -> None:
        with serving(503, b'{"code": "queue_full"}', {"retry-after": "30"}) as url:
            (refused,) = asyncio.run(send_at(Target(url, [b"PK"]), [0.0]))
        (lost,) = asyncio.run(send_at(Target(url, [b"PK"]), [0.0]))
        assert (refused.is_accepted, refused.retry_after) == (False, "30")
        assert count_answers([refused, lost]) == {"503 queue_full": 1, "no answer ConnectError": 1}


class TestTheWatch:
    def test_sees_health_and_memory_from_a_process_of_its_own(self) -> None:
        with serving(200, b"{}", {"content-type": "application/json"}) as url, watched(url, os.getpid()) as seen:
            time.sleep(WATCHED_S)
        assert seen.failures == 0
        assert len(seen.health_s) == len(seen.rss_bytes) > 1
        assert 0 < max(seen.health_s) < WATCHED_S


class TestFigures:
    def test_are_values_that_were_seen(self) -> None:
        assert compute_percentiles([float(n) for n in range(100)]) == {"p50": 50, "p95": 95, "p99": 99, "max": 99}
        assert compute_percentiles([]) == {}

    def test_count_a_result_from_when_its_study_was_due(self) -> None:
        arrival = Arrival(due_at=100.0, study=0, job_id="a", sent_late_s=5.0)
        assert compute_latencies([arrival], {"a": Ended("completed", 107.5)}) == [7.5]


def reckon(**changes: object) -> Reckoning:
    values: dict[str, object] = {
        "promised": 1,
        "lost": 0,
        "unended": 0,
        "states": {"completed": 1},
        "results": 1,
        "unpromised": 0,
        "reconciliation": CLEAN,
    }
    return Reckoning(**{**values, **changes})  # type: ignore[arg-type]  # of a test


def find_broken(arrivals: list[Arrival], reckoning: Reckoning, seen: Watched) -> list[str]:
    return [each.promise.split(",")[0] for each in judge(arrivals, reckoning, seen) if not each.is_kept]


class TestTheVerdict:
    ACCEPTED = Arrival(0.0, 0, status=202, job_id="a")
    REFUSED = Arrival(0.0, 0, status=503, retry_after="30", code="queue_full")
    SOUND = Watched(health_s=[0.01] * 100, rss_bytes=[100] * 90)

    def test_is_good_where_every_promise_was_kept(self) -> None:
        assert find_broken([self.ACCEPTED, self.REFUSED], reckon(), self.SOUND) == []

    @pytest.mark.parametrize(
        "changes",
        [{"lost": 1}, {"unended": 1}, {"results": 2}, {"reconciliation": Reconciliation(["objects/x"], (), 0)}],
    )
    def test_finds_jobs_that_are_lost_double_or_left_over(self, changes: dict[str, object]) -> None:
        found = find_broken([self.ACCEPTED, self.REFUSED], reckon(**changes), self.SOUND)
        assert found == ["no accepted job is lost"]

    def test_finds_jobs_that_nobody_was_told_of(self) -> None:
        assert find_broken([self.ACCEPTED, self.REFUSED], reckon(unpromised=1), self.SOUND) == [
            "no job that nobody was told of"
        ]
        unanswered = Arrival(0.0, 0, code="ReadTimeout")
        assert find_broken([self.ACCEPTED, self.REFUSED, unanswered], reckon(unpromised=1), self.SOUND) == []

    @pytest.mark.parametrize("retry_after", [None, "soon", "0"])
    def test_finds_refusals_that_do_not_say_when(self, retry_after: str | None) -> None:
        silent = Arrival(0.0, 0, status=503, retry_after=retry_after)
        assert find_broken([self.ACCEPTED, self.REFUSED, silent], reckon(), self.SOUND) == ["there are refusals"]

    def test_finds_a_slow_health_and_a_gateway_that_grows(self) -> None:
        slow = Watched(health_s=[0.01] * 98 + [1.5] * 2, rss_bytes=[100] * 60 + [120] * 30)
        found = find_broken([self.ACCEPTED, self.REFUSED], reckon(), slow)
        assert found == ["health p99 < 1 s", "the gateway's memory grows by less than 10%"]


class TestTheBooks:
    def test_tell_what_became_of_each_promise(self, settings: Settings) -> None:
        with own_database(settings) as (made, engine):
            bucket = f"load-{uuid.uuid4().hex[:8]}"
            own = made.model_copy(update={"storage_bucket": bucket})
            store = ObjectStore(own)
            store.ensure_bucket()
            ended, waiting = accept(engine, store), accept(engine, store)
            end(engine, ended)
            books = Books(own)
            try:
                found = books.reckon([ended, waiting, str(uuid.uuid4())], jobs_before=0)
                assert (found.promised, found.lost, found.unended, found.results) == (3, 1, 1, 1)
                assert (found.unpromised, dict(found.states)) == (0, {"completed": 1})
                assert not found.reconciliation.objects
                store.write_bytes(b"left over", prefix="uploads")
                found = books.reckon([ended], jobs_before=0)
                assert (found.lost, found.unpromised, len(found.reconciliation.objects)) == (0, 1, 1)
                assert books.count_answers([ended])[StageName.MEDNEXT] == (1, 1, 0)
            finally:
                books.close()


def accept(engine: Engine, store: ObjectStore) -> str:
    job_id = uuid.uuid4()
    with transaction(engine) as session:
        session.merge(Policy(id="load", name="load", digest="0", document={}))
        session.flush()
        new = NewJob(
            id=job_id,
            tenant="default",
            priority=5,
            options={},
            policy_id="load",
            weights_profile="demo",
            time_limit=timedelta(hours=1),
            upload=StoredUpload(store.write_bytes(b"PK", prefix="uploads"), UploadKind.ZIP, "application/zip"),
        )
        add_job(session, new)
    return str(job_id)


def end(engine: Engine, job_id: str) -> None:
    key = uuid.UUID(job_id)
    with transaction(engine) as session:
        job = session.get_one(Job, key)
        session.get_one(StageRun, (key, StageName.MEDNEXT)).recipe_sha256 = "a" * 64
        session.add(Result(job_id=key, document={}, policy_id="load", probability=0.5))
        end_job(session, job, JobState.COMPLETED)
