"""A tiny HTTP server on loopback that answers as told: for faults that the real gateway does not commit on demand."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.loopback import running


@dataclass(frozen=True)
class Answer:
    """One answer of the server. A `Content-Length` in `headers` that is too large cuts it short."""

    status: int
    document: Any
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Request:
    """One request as it came."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


CUT = Answer(0, None)
"""No answer: the connection breaks."""


class TinyApi:
    """Gives its answers in turn, the last one for ever, and keeps the requests."""

    def __init__(self, *answers: Answer) -> None:
        self.requests: list[Request] = []
        self.url = ""
        self._answers = list(answers)

    def answer(self, request: Request) -> Answer:
        self.requests.append(request)
        return self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]


@contextmanager
def serving(*answers: Answer) -> Iterator[TinyApi]:
    """Run the server while the block runs."""
    api = TinyApi(*answers)
    server = ThreadingHTTPServer(("127.0.0.1", 0), _make_handler(api))
    with running(server) as api.url:
        yield api


def _make_handler(api: TinyApi) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            answer = api.answer(Request(self.command, self.path, dict(self.headers), body))
            if answer is CUT:
                self.close_connection = True
                return
            content = answer.document if isinstance(answer.document, bytes) else json.dumps(answer.document).encode()
            self.send_response(answer.status)
            for name, value in {"Content-Length": str(len(content)), **answer.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        do_POST = do_PUT = do_GET  # noqa: N815  # the names that http.server asks for

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Say nothing."""

    return Handler


def job_document(state: str = "running", **fields: object) -> dict[str, Any]:
    """Return a job as the API shows it."""
    stages = [
        {"name": "intake", "state": "succeeded", "attempt": 1, "reason": None, "seconds": 1.25},
        {"name": "mednext", "state": "skipped", "attempt": 0, "reason": "model_not_installed", "seconds": None},
    ]
    return {"id": "job-1", "state": state, "progress": 0.5, "stages": stages, "problem": None, **fields}


def problem(status: int, code: str, **headers: str) -> Answer:
    """Return a problem document."""
    document = {
        "type": f"/v1/problems/{code}",
        "title": "A title",
        "status": status,
        "detail": "a detail",
        "code": code,
    }
    return Answer(status, document, {name.replace("_", "-"): value for name, value in headers.items()})
