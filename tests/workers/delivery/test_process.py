"""The delivery worker as a process, killed at the worst moment."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler

from shared.settings import Settings
from tests.gateway.receiver import Message
from tests.stack.running import wait_until
from tests.workers.delivery.conftest import Webhooks


def make_environment(settings: Settings) -> Mapping[str, str]:
    return {
        **os.environ,
        "CTCLIP_DATABASE_URL": settings.database_url.get_secret_value(),
        "CTCLIP_STORAGE_ENDPOINT": settings.storage_endpoint,
        "CTCLIP_STORAGE_ACCESS_KEY": "unused",
        "CTCLIP_STORAGE_SECRET_KEY": "unused",
        "CTCLIP_WEBHOOK_ALLOWED_NETWORKS": "127.0.0.0/8",
        "CTCLIP_WEBHOOK_TIMEOUT": f"PT{settings.webhook_timeout.total_seconds():g}S",
    }


@contextmanager
def running_worker(settings: Settings) -> Iterator[subprocess.Popen[bytes]]:
    worker = subprocess.Popen([sys.executable, "-m", "workers.delivery"], env=make_environment(settings))
    try:
        yield worker
    finally:
        worker.terminate()
        worker.wait(30)


class TestAKilledWorker:
    def test_between_sending_and_its_record_sends_again_under_the_same_id(self, webhooks: Webhooks) -> None:
        webhook = webhooks.create()
        settings = webhooks.gateway.settings
        with running_worker(settings) as victim:

            def kill_and_take(handler: BaseHTTPRequestHandler, message: Message) -> None:
                os.kill(victim.pid, signal.SIGKILL)
                handler.send_response(204)
                handler.end_headers()

            webhooks.receiver.answer = kill_and_take
            job_id = webhooks.finish()
            wait_until(lambda: victim.poll() is not None, "the worker is dead")
        webhooks.receiver.answer = None
        (delivery,) = webhooks.list_deliveries(webhook)
        assert (delivery["state"], delivery["attempt"]) == ("pending", 0)
        webhooks.let_claims_lapse()
        with running_worker(settings) as second:
            wait_until(lambda: webhooks.list_deliveries(webhook)[0]["state"] == "delivered", "it is sent again")
            second.terminate()
            assert second.wait(30) == 0
        first, again = webhooks.receiver.messages
        assert first.id == again.id == delivery["id"]
        assert again.verify(webhook["secret"])["data"]["job_id"] == str(job_id)
