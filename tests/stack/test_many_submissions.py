"""Many submissions at once: one job for one key, one result for each job, and nothing left over."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from sqlalchemy import func, select

from shared.database import transaction
from shared.states import JobState
from shared.tables import Job, Result
from tests.stack.running import RunningStack, find_orphans, wait_until

pytestmark = pytest.mark.stack

THREADS = 20
TIMES = 5
OF_ONE_MODEL = {"models": "mednext"}  # how many submit is in question here, not who answers
JOBS = 20


def submit_from_threads(
    stack: RunningStack, study: Path, count: int, headers: Callable[[], dict[str, str]]
) -> set[str]:
    """Submit from many threads, again while a key is in flight, and return the ids of the jobs."""
    body = study.read_bytes()

    def submit(_: int) -> str:
        with httpx.Client(base_url=stack.url, timeout=120) as http:
            sent = headers()
            answers: list[httpx.Response] = []

            def is_accepted() -> bool:
                answers.append(
                    http.post("/v1/jobs", params=OF_ONE_MODEL, files={"file": ("study.zip", body)}, headers=sent)
                )
                assert answers[-1].status_code in {200, 202, 409, 503}, answers[-1].text
                return answers[-1].is_success

            wait_until(is_accepted, "the submission is accepted", 120)
            return str(answers[-1].json()["id"])

    with ThreadPoolExecutor(THREADS) as pool:
        return set(pool.map(submit, range(count)))


class TestSameKey:
    def test_makes_one_job_from_twenty_threads_five_times(self, stack: RunningStack, phantom_zip: Path) -> None:
        key = str(uuid.uuid4())
        ids = submit_from_threads(stack, phantom_zip, THREADS * TIMES, lambda: {"Idempotency-Key": key})
        assert len(ids) == 1
        assert stack.wait_for_end(ids.pop())["state"] == JobState.COMPLETED_PARTIAL


class TestNoKey:
    def test_makes_a_job_and_a_result_each_and_leaves_no_orphan(self, stack: RunningStack, phantom_zip: Path) -> None:
        before = find_orphans(stack)
        ids = submit_from_threads(stack, phantom_zip, JOBS, dict)
        assert len(ids) == JOBS
        assert {stack.wait_for_end(job_id)["state"] for job_id in ids} == {JobState.COMPLETED_PARTIAL}
        with transaction(stack.engine) as session:
            own = [uuid.UUID(job_id) for job_id in ids]
            assert session.scalar(select(func.count()).select_from(Job).where(Job.id.in_(own))) == JOBS
            assert session.scalar(select(func.count()).select_from(Result).where(Result.job_id.in_(own))) == JOBS
        assert find_orphans(stack) <= before
