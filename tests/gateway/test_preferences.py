"""`Prefer: wait`: the answer to a submission is held until its job has ended."""

from __future__ import annotations

import threading
import time

import pytest
from sqlalchemy import Engine

from gateway.jobs.preferences import parse_wait
from tests.gateway.conftest import ZIP, RunningGateway
from tests.gateway.pipeline import fetch_unfinished_jobs, finish_job
from tests.stack.running import wait_until


class TestAPreference:
    @pytest.mark.parametrize(
        ("values", "found"),
        [
            (["wait=10"], 10),
            (["respond-async, wait=10"], 10),
            (["respond-async", "Wait = 7"], 7),
            (["wait=100"], 60),
            (['wait="5"; foo=bar'], 5),
            (["wait=5, wait=9"], 5),
            (["wait"], None),
            (["wait=-1"], None),
            (["wait=1.5"], None),
            (["wait=" + "9" * 30], None),
            ([], None),
        ],
    )
    def test_is_read_and_capped_or_ignored(self, values: list[str], found: int | None) -> None:
        assert parse_wait(values, 60) == found


class TestASubmission:
    def test_that_waits_is_answered_with_the_ended_job(self, gateway: RunningGateway, engine: Engine) -> None:
        def end_the_new_one() -> None:
            wait_until(lambda: fetch_unfinished_jobs(engine) - before, "the job is there")
            (job_id,) = fetch_unfinished_jobs(engine) - before
            finish_job(engine, job_id)

        before = fetch_unfinished_jobs(engine)
        ending = threading.Thread(target=end_the_new_one)
        ending.start()
        answer = gateway.http.post("/v1/jobs", content=ZIP, headers={"Prefer": "wait=50"})
        ending.join(60)
        assert (answer.status_code, answer.json()["state"]) == (200, "completed_partial")
        assert answer.headers["preference-applied"] == "wait=50"
        assert answer.headers["location"] == answer.json()["links"]["self"]
        assert "retry-after" not in answer.headers

    def test_that_waits_in_vain_is_answered_in_time_with_the_job(self, gateway: RunningGateway) -> None:
        began = time.monotonic()
        answer = gateway.http.post("/v1/jobs", content=ZIP, headers={"Prefer": "wait=1"})
        assert (answer.status_code, answer.json()["state"], answer.headers["retry-after"]) == (202, "queued", "1")
        assert answer.headers["preference-applied"] == "wait=1"
        assert time.monotonic() - began >= 1

    def test_that_does_not_ask_is_answered_at_once(self, gateway: RunningGateway) -> None:
        answer = gateway.http.post("/v1/jobs", content=ZIP)
        assert (answer.status_code, "preference-applied" in answer.headers) == (202, False)
