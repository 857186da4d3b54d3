"""A small API on loopback that keeps count: which keys made which jobs. For deaths of a client at any moment.

The real platform is killed and counted in `tests/stack`; here a client can be killed many times in a few seconds.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.loopback import running

_JOB_S = 0.1


class CountingApi:
    """Makes one job for each key, however often it comes; a job has a result a little later."""

    def __init__(self) -> None:
        self.url = ""
        self.jobs: dict[str, tuple[str, float]] = {}
        self._lock = threading.Lock()

    def submit(self, key: str) -> dict[str, Any]:
        with self._lock:
            job_id, _ = self.jobs.setdefault(key, (f"job-{len(self.jobs)}", time.monotonic() + _JOB_S))
        return self.describe(job_id)

    def describe(self, job_id: str) -> dict[str, Any]:
        has_ended = dict(self.jobs.values())[job_id] <= time.monotonic()
        state = "completed" if has_ended else "running"
        return {"id": job_id, "state": state, "progress": 0.5, "stages": [], "problem": None}

    def read_result(self, job_id: str) -> dict[str, Any]:
        contract = {"study_uid": job_id, "series_uid": job_id, "processing_status": "Success", "pathology": 0}
        answer = {"probability_of_pathology": 0.2, "most_dangerous_pathology_type": "None", "time_of_processing": 0.1}
        return {**contract, **answer, "job_id": job_id}


@contextmanager
def counting() -> Iterator[CountingApi]:
    """Run the server while the block runs."""
    api = CountingApi()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _make_handler(api))
    server.daemon_threads = True
    with running(server) as api.url:
        yield api


def _make_handler(api: CountingApi) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            length = int(self.headers["Content-Length"])
            # A body that was cut off makes no job.
            if len(self.rfile.read(length)) == length:
                self._answer(202, api.submit(self.headers["Idempotency-Key"]))

        def do_GET(self) -> None:
            job_id = self.path.split("/")[3]
            self._answer(200, api.read_result(job_id) if self.path.endswith("/result") else api.describe(job_id))

        def _answer(self, status: int, document: dict[str, Any]) -> None:
            content = json.dumps(document).encode()
            try:
                self.send_response(status)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)
            except OSError:
                self.close_connection = True  # the caller has died

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Say nothing."""

    return Handler
