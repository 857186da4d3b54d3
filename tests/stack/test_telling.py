"""The whole platform tells how jobs end: to webhooks, to callbacks and to who listens, through a killed gateway."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.gateway.event_stream import Stream, name_events
from tests.gateway.receiver import Message, Receiver, running_receiver
from tests.stack.running import JOB_LIMIT_S, RunningStack, wait_until

pytestmark = pytest.mark.stack


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with running_receiver() as running:
        yield running


@pytest.fixture
def webhook(stack: RunningStack, receiver: Receiver) -> Iterator[dict[str, Any]]:
    made = stack.http.post("/v1/webhooks", json={"url": receiver.url}).raise_for_status().json()
    yield made
    stack.http.delete(f"/v1/webhooks/{made['id']}").raise_for_status()


def find_told(receiver: Receiver, secret: str, job_id: str) -> list[str]:
    """Return the types of what was told of a job under a secret."""
    own = [message for message in receiver.messages if job_id.encode() in message.body]
    return [message.verify(secret)["type"] for message in own if message.path == "/hook"]


def find_called(receiver: Receiver) -> list[Message]:
    """Return what came to the callback."""
    return [message for message in receiver.messages if message.path == "/hook?callback"]


def is_serving(stack: RunningStack) -> bool:
    try:
        return stack.http.get("/readyz").is_success
    except httpx.TransportError:
        return False


class TestAJob:
    def test_is_told_to_webhook_and_callback_and_streamed_through_a_killed_gateway(
        self, stack: RunningStack, phantom_zip: Path, receiver: Receiver, webhook: dict[str, Any]
    ) -> None:
        params = {"callback_url": f"{receiver.url}?callback"}
        job = stack.http.post("/v1/jobs", params=params, content=phantom_zip.read_bytes()).json()
        place = job["links"]["events"]
        with stack.http.stream("GET", place, timeout=JOB_LIMIT_S) as answer:
            first = Stream(answer).read()
        assert first is not None
        os.kill(stack.pid("gateway"), signal.SIGKILL)
        wait_until(lambda: is_serving(stack), "the gateway is back")
        with stack.http.stream("GET", place, headers={"Last-Event-ID": first["id"]}, timeout=JOB_LIMIT_S) as answer:
            rest = Stream(answer).read_all()
        assert name_events([first])[0] == ("job.state", None, "queued")
        assert name_events(rest)[-1][0] == "job.state"
        ended = f"job.{stack.wait_for_end(job['id'])['state']}"
        wait_until(lambda: find_told(receiver, webhook["secret"], job["id"]), "the webhook is told")
        wait_until(lambda: find_called(receiver), "the callback is called")
        assert find_told(receiver, webhook["secret"], job["id"]) == [ended]
        secret = stack.http.get("/v1/webhooks/default-secret").json()["secret"]
        (callback,) = find_called(receiver)
        assert callback.verify(secret)["data"]["job_id"] == job["id"]

    def test_that_is_cancelled_while_it_runs_ends_and_is_told(
        self, stack: RunningStack, phantom_zip: Path, receiver: Receiver, webhook: dict[str, Any]
    ) -> None:
        job_id = stack.submit(phantom_zip)
        wait_until(lambda: stack.fetch_job(job_id)["state"] == "running", "the job runs")
        cancelled = stack.http.post(f"/v1/jobs/{job_id}/cancel").json()
        assert cancelled["state"] == "cancelled"
        wait_until(lambda: find_told(receiver, webhook["secret"], job_id), "the cancellation is told")
        assert find_told(receiver, webhook["secret"], job_id) == ["job.cancelled"]
        later = stack.submit(phantom_zip, models="mednext")
        assert stack.wait_for_end(later)["state"].startswith("completed")
        assert stack.fetch_job(job_id) == cancelled
