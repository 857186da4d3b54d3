"""The client over HTTP: what it sends, how patient it is, what it raises."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from client import ApiError, Client, JobFailed, Unreachable, WaitExpired
from tests.client.tiny_api import Answer, job_document, problem, serving

ACCEPTED = Answer(202, job_document("queued"))


@pytest.fixture
def study(tmp_path: Path) -> Path:
    path = tmp_path / "study.zip"
    path.write_bytes(bytes(range(256)) * 1000)
    return path


class TestSubmit:
    def test_sends_the_file_whole_with_name_options_and_a_key(self, study: Path) -> None:
        with serving(ACCEPTED) as api, Client(api.url) as client:
            job = client.submit(study, models="mednext")
        (request,) = api.requests
        assert job.id == "job-1"
        assert study.read_bytes() in request.body
        assert b'filename="study.zip"' in request.body
        assert request.path == "/v1/jobs?models=mednext"
        assert request.headers["Idempotency-Key"]

    def test_repeats_with_the_same_key_when_the_service_asks_for_patience(self, study: Path) -> None:
        with serving(problem(503, "not_ready", Retry_After="0"), ACCEPTED) as api, Client(api.url) as client:
            assert client.submit(study).id == "job-1"
        first, second = api.requests
        assert first.headers["Idempotency-Key"] == second.headers["Idempotency-Key"]
        assert study.read_bytes() in second.body

    def test_repeats_while_the_first_request_with_its_key_is_in_flight(self, study: Path) -> None:
        in_flight = problem(409, "idempotency_key_in_flight", Retry_After="0")
        with serving(in_flight, ACCEPTED) as api, Client(api.url) as client:
            assert client.submit(study, idempotency_key="mine").id == "job-1"
        assert [request.headers["Idempotency-Key"] for request in api.requests] == ["mine", "mine"]

    def test_makes_a_new_key_for_each_call(self, study: Path) -> None:
        with serving(ACCEPTED) as api, Client(api.url) as client:
            client.submit(study)
            client.submit(study)
        assert len({request.headers["Idempotency-Key"] for request in api.requests}) == 2


class TestRefusal:
    def test_is_an_error_that_carries_the_problem(self) -> None:
        with (
            serving(problem(404, "job_not_found")) as api,
            Client(api.url) as client,
            pytest.raises(ApiError) as raised,
        ):
            client.fetch_job("job-2")
        assert raised.value.status == 404
        assert raised.value.problem.code == "job_not_found"
        assert str(raised.value) == "A title: a detail"
        assert len(api.requests) == 1

    def test_is_not_repeated_beyond_the_limit(self) -> None:
        with (
            serving(problem(503, "not_ready", Retry_After="1")) as api,
            Client(api.url, retry_limit_s=0.1) as client,
            pytest.raises(ApiError, match="a detail"),
        ):
            client.fetch_job("job-1")
        assert len(api.requests) == 1

    @pytest.mark.parametrize("document", [b"<html>", [1], {"hello": "world"}])
    def test_says_when_something_else_answers(self, document: object) -> None:
        with (
            serving(Answer(200, document)) as api,
            Client(api.url) as client,
            pytest.raises((ApiError, Unreachable), match=r"this API"),
        ):
            client.fetch_job("job-1")


class TestAbsentService:
    def test_is_told_at_once_when_it_never_answered(self) -> None:
        with serving(ACCEPTED) as api:
            pass
        started = time.monotonic()
        with Client(api.url) as client, pytest.raises(Unreachable, match="Is the platform running"):
            client.fetch_job("job-1")
        assert time.monotonic() - started < 2

    def test_is_asked_again_when_it_answered_before(self) -> None:
        with serving(ACCEPTED) as api:
            client = Client(api.url, retry_limit_s=2)
            client.fetch_job("job-1")
        started = time.monotonic()
        with client, pytest.raises(Unreachable):
            client.fetch_job("job-1")
        assert time.monotonic() - started >= 0.4


class TestWait:
    def test_yields_each_change_once_and_ends_with_the_job(self) -> None:
        running, done = Answer(200, job_document()), Answer(200, job_document("completed"))
        with serving(running, running, running, done) as api, Client(api.url) as client:
            states = [job.state for job in client.iterate_updates("job-1", poll_s=0.01)]
        assert states == ["running", "completed"]

    def test_raises_when_the_job_ends_without_a_result(self) -> None:
        told = {"code": "archive_corrupt", "title": "The archive is damaged", "detail": "at byte 7"}
        with (
            serving(Answer(200, job_document("rejected", problem=told))) as api,
            Client(api.url) as client,
            pytest.raises(JobFailed, match=r"rejected: The archive is damaged\. at byte 7") as raised,
        ):
            client.wait("job-1")
        assert raised.value.problem is not None
        assert raised.value.problem.code == "archive_corrupt"

    def test_ends_after_its_limit(self) -> None:
        with (
            serving(Answer(200, job_document())) as api,
            Client(api.url) as client,
            pytest.raises(WaitExpired, match="ctclip watch job-1"),
        ):
            client.wait("job-1", limit_s=0.05, poll_s=0.02)


class TestIntake:
    def test_is_read_to_its_last_file(self) -> None:
        pages = [
            {"job_id": "job-1", "files": [{"ordinal": 0}], "next_cursor": "MA"},
            {"job_id": "job-1", "files": [{"ordinal": 1}], "next_cursor": None},
        ]
        with serving(*(Answer(200, page) for page in pages)) as api, Client(api.url) as client:
            intake = client.fetch_intake("job-1")
        assert intake == {"job_id": "job-1", "files": [{"ordinal": 0}, {"ordinal": 1}]}
        assert [request.path for request in api.requests] == [
            "/v1/jobs/job-1/intake",
            "/v1/jobs/job-1/intake?cursor=MA",
        ]


class TestValidation:
    def test_that_found_no_fault_is_waited_for_like_a_result(self) -> None:
        stages = [{"name": "fusion", "state": "skipped", "reason": "validate_only"}]
        with serving(Answer(200, job_document("completed", stages=stages))) as api, Client(api.url) as client:
            job = client.wait("job-1")
        assert (job.has_succeeded, job.has_result, job.is_validation) == (True, False, True)
