"""One trace from the upload to the webhook: exported by every process, kept in rows, named in answers and logs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.gateway.receiver import running_receiver
from tests.stack.collector import CollectedSpan, Collector
from tests.stack.running import RunningStack, wait_until

pytestmark = pytest.mark.stack

CALLER = "4bf92f3577b34da6a3ce929d0e0e4736"
STEPS = ("intake", "mednext", "fusion")


@dataclass(frozen=True)
class Traced:
    """A study that went through, with what told of it."""

    job: dict[str, Any]
    answer_trace_id: str
    webhook_headers: dict[str, str]
    spans: list[CollectedSpan]

    def find(self, name: str) -> CollectedSpan:
        """Return the first span of this name."""
        return next(span for span in self.spans if span.name == name)

    def parent_of(self, name: str) -> str | None:
        """Return the name of the span above."""
        by_id = {span.id: span for span in self.spans}
        parent = by_id.get(self.find(name).parent_id)
        return None if parent is None else parent.name


# For the session: classes of this module may run apart.
@pytest.fixture(scope="session")
def traced(stack: RunningStack, collector: Collector, phantom_zip: Path) -> Iterator[Traced]:
    with running_receiver() as receiver:
        params = {"callback_url": receiver.url, "models": "mednext", "reuse": "false"}
        accepted = stack.http.post("/v1/jobs", params=params, content=phantom_zip.read_bytes())
        job = stack.wait_for_end(accepted.json()["id"])
        wait_until(lambda: receiver.messages, "the callback is called")
        trace_id = accepted.headers["x-trace-id"]
        needed = {"POST /v1/jobs", "webhook", *(f"{deed} {step}" for deed in ("publish", "run") for step in STEPS)}
        wait_until(lambda: needed <= {span.name for span in collector.find(trace_id)}, "the spans are exported", 30)
        headers = {name.lower(): value for name, value in receiver.messages[0].headers.items()}
        yield Traced(job, trace_id, headers, collector.find(trace_id))


class TestOneStudy:
    def test_is_one_tree_from_the_upload_to_the_webhook(self, traced: Traced) -> None:
        ids = {span.id for span in traced.spans}
        roots = [span.name for span in traced.spans if span.parent_id not in ids]
        assert roots == ["POST /v1/jobs"]
        assert traced.find("POST /v1/jobs").parent_id == ""
        assert traced.parent_of("publish intake") == "POST /v1/jobs"
        assert traced.parent_of("run intake") == "publish intake"
        assert traced.parent_of("publish mednext") == "run intake"
        assert traced.parent_of("predict mednext") == "run mednext"
        assert traced.parent_of("publish fusion") == "run mednext"
        assert traced.parent_of("webhook") == "run fusion"

    def test_is_told_by_every_process_that_had_a_hand_in_it(self, traced: Traced) -> None:
        services = {"gateway", "control", "worker-intake", "worker-models", "worker-fusion", "worker-delivery"}
        assert {span.service for span in traced.spans} == {f"ctclip-{service}" for service in services}

    def test_has_the_trace_of_its_answer(self, traced: Traced) -> None:
        assert traced.job["trace_id"] == traced.answer_trace_id
        assert traced.webhook_headers["traceparent"].split("-")[1] == traced.answer_trace_id

    def test_tells_only_words_and_ids_of_ours(self, traced: Traced) -> None:
        of_http = {"http.request.method", "http.route", "http.response.status_code"}
        of_ours = {"ctclip.job_id", "ctclip.stage", "ctclip.webhook_id", "ctclip.is_delivered"}
        assert {key for span in traced.spans for key in span.attributes} <= of_http | of_ours

    @pytest.mark.parametrize("process", ["worker-intake", "worker-models", "worker-fusion"])
    def test_is_logged_with_job_stage_and_trace(self, stack: RunningStack, traced: Traced, process: str) -> None:
        lines = (stack.state / "logs" / f"{process}.log").read_text().splitlines()
        told = [json.loads(line) for line in lines if traced.job["id"] in line]
        assert told
        assert {line["trace_id"] for line in told} == {traced.answer_trace_id}
        assert {line["process"] for line in told} == {process}
        assert all(line["stage"] in STEPS for line in told)


class TestARejectedStudy:
    def test_names_the_callers_trace_in_its_problem(self, stack: RunningStack, collector: Collector) -> None:
        headers = {"traceparent": f"00-{CALLER}-00f067aa0ba902b7-01"}
        accepted = stack.http.post("/v1/jobs", content=b"PK\x05\x06" + bytes(18), headers=headers)
        assert accepted.headers["x-trace-id"] == CALLER
        job = stack.wait_for_end(accepted.json()["id"]) if accepted.is_success else accepted.json()
        problem = job["problem"] if accepted.is_success else job
        assert problem["trace_id"] == CALLER

        def find_parents() -> set[str | None]:
            return {span.parent_id for span in collector.find(CALLER) if span.name == "POST /v1/jobs"}

        wait_until(find_parents, "the gateway's span is exported", 30)
        assert find_parents() == {"00f067aa0ba902b7"}
