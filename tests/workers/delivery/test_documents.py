"""What the page about webhooks shows is true: its receiver runs, and its example is a message."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from deploy.documents import DOCS
from shared.errors import InputProblem
from shared.problems import ProblemCode
from shared.webhooks import WebhookEvent
from tests.gateway.pipeline import end_intake
from tests.pages import read_blocks
from tests.stack.running import wait_until
from tests.workers.delivery.conftest import Webhooks

PAGE = (DOCS / "webhooks.md").read_text("utf-8")


def find_block(language: str) -> str:
    (found,) = [block.text for block in read_blocks(DOCS / "webhooks.md") if block.language == language]
    return found


def is_listening(port: int) -> bool:
    with socket.socket() as caller:
        return caller.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture
def schema(webhooks: Webhooks) -> dict[str, Any]:
    answered: dict[str, Any] = webhooks.gateway.http.get("/v1/schemas/webhook").json()
    return answered


class TestTheReceiver:
    def test_verifies_what_is_sent_and_tells_it_once(self, webhooks: Webhooks, tmp_path: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = listener.getsockname()[1]
        webhook = webhooks.create(f"http://127.0.0.1:{port}/")
        script = tmp_path / "receiver.py"
        script.write_text(find_block("python"), "utf-8")
        environment = {**os.environ, "WEBHOOK_SECRET": webhook["secret"], "PORT": str(port)}
        with subprocess.Popen(
            [sys.executable, str(script)], env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        ) as receiver:
            try:
                wait_until(lambda: is_listening(port), "the receiver listens")
                job_id = webhooks.finish()
                webhooks.deliver()
                webhooks.call(webhook, "replay", since="2026-01-01T00:00:00Z")
                webhooks.deliver()
                webhooks.call(webhook, "ping")
                webhooks.deliver_all()
                webhooks.call(webhook, "rotate", overlap_s=0)  # a secret that the receiver does not know
                webhooks.finish()
                webhooks.deliver()
            finally:
                receiver.terminate()
            told, _ = receiver.communicate(timeout=30)
        assert told.splitlines() == [f"job.completed_partial {job_id}", "webhook.ping None"]
        assert [one["tries"][-1]["status_code"] for one in webhooks.list_deliveries(webhook)] == [401, 204, 204]


class TestTheSchema:
    def test_fits_the_example_and_what_is_sent(self, webhooks: Webhooks, schema: dict[str, Any]) -> None:
        jsonschema.Draft202012Validator.check_schema(schema)
        jsonschema.validate(json.loads(find_block("json")), schema)
        webhook = webhooks.create()
        webhooks.finish()
        rejected = webhooks.submit()
        problem = InputProblem(ProblemCode.NO_DICOM_IMAGES, "Only text.")
        end_intake(webhooks.engine, webhooks.gateway.settings, rejected, [problem])
        webhooks.call(webhook, "ping")
        webhooks.deliver_all()
        payloads = [message.verify(webhook["secret"]) for message in webhooks.receiver.messages]
        assert {payload["type"] for payload in payloads} == {"job.completed_partial", "job.rejected", "webhook.ping"}
        for payload in payloads:
            jsonschema.validate(payload, schema)

    def test_and_the_page_name_every_event(self, schema: dict[str, Any]) -> None:
        assert set(schema["properties"]["type"]["enum"]) == set(WebhookEvent)
        assert not [event for event in WebhookEvent if f"`{event}`" not in PAGE]
