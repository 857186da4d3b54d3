"""Requests that are answered with a problem before any study is read."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Mapping
from typing import Any

from sqlalchemy import func, select

from gateway.app import create_app
from gateway.webhooks.repository import MOST_WEBHOOKS
from phantom.corpus.registry import CASES
from shared.byte_units import MIB
from shared.database import transaction
from shared.problems import ProblemCode
from shared.tables import IdempotencyKey
from tests.gateway.conftest import UPLOAD_LIMIT_BYTES, ZIP, running_gateway
from tests.gateway.pipeline import finish_job
from tests.problems.bench import Bench, Document, Generator, read_json
from tests.stack.running import wait_until

_PATH = "/v1/jobs"
_WEBHOOKS = "/v1/webhooks"
_PUBLIC = "https://8.8.8.8/hook"  # never called: these webhooks are gone before anything could be told
_DIGEST_OF_NOTHING = "sha-256=:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=:"


def _post(bench: Bench, content: bytes = ZIP, query: str = "", **headers: str) -> Document:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return read_json(bench.gateway.http.post(_PATH + query, content=content, headers=named))


def _reuse_a_key(bench: Bench) -> Document:
    key = str(uuid.uuid4())
    _post(bench, Idempotency_Key=key)
    return _post(bench, ZIP + b"other", Idempotency_Key=key)


def _repeat_while_in_flight(bench: Bench) -> Document:
    key = str(uuid.uuid4())
    head = f"POST {_PATH} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {MIB}\r\nIdempotency-Key: {key}\r\n\r\n"
    with bench.gateway.connect() as first:
        first.sendall(head.encode() + ZIP)
        wait_until(lambda: _is_reserved(bench, key), "the first request is being taken in")
        return _post(bench, Idempotency_Key=key)


def _is_reserved(bench: Bench, key: str) -> bool:
    with transaction(bench.engine) as session:
        return bool(session.scalar(select(func.count()).where(IdempotencyKey.key == key)))


def _break_off(bench: Bench) -> Document:
    """Let the caller leave in the middle of its body; what the application answers goes nowhere but here."""
    return asyncio.run(_ask_and_leave(bench))


async def _ask_and_leave(bench: Bench) -> Document:
    received: list[dict[str, Any]] = [
        {"type": "http.request", "body": ZIP, "more_body": True},
        {"type": "http.disconnect"},
    ]
    sent: list[Mapping[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return received.pop(0)

    async def send(message: Mapping[str, Any]) -> None:
        sent.append(message)

    app = create_app(bench.settings)
    async with app.router.lifespan_context(app):
        await app(_make_scope(), receive, send)
    document: Document = json.loads(b"".join(message.get("body", b"") for message in sent))
    return document


def _make_scope() -> dict[str, Any]:
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": _PATH,
        "raw_path": _PATH.encode(),
        "root_path": "",
        "query_string": b"",
        "headers": [(b"content-type", b"application/zip")],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 1),
        "state": {},
    }


def _ask_for_the_result_of_a_refused_study(bench: Bench) -> Document:
    content = CASES["B20-no-images"].make(bench.chest)
    assert isinstance(content, bytes)
    return bench.get(f"{_PATH}/{bench.read_upload(content)}/result")


def _erase_twice(bench: Bench) -> Document:
    place = f"{_PATH}/{bench.submit(ZIP)}"
    bench.gateway.http.delete(place)
    return read_json(bench.gateway.http.delete(place))


def _cancel_what_has_ended(bench: Bench) -> Document:
    job_id = bench.submit(ZIP)
    finish_job(bench.engine, job_id)
    return read_json(bench.gateway.http.post(f"{_PATH}/{job_id}/cancel"))


def _open_one_stream_too_many(bench: Bench) -> Document:
    with running_gateway(bench.settings.model_copy(update={"event_streams_limit": 1})) as other:
        place = f"{_PATH}/{bench.submit(ZIP)}/events"
        with other.http.stream("GET", place) as first:
            lines = first.iter_lines()  # kept: the stream is closed with it
            next(lines)
            return read_json(other.http.get(place))


def _make_webhook(bench: Bench, url: str) -> Document:
    return read_json(bench.gateway.http.post(_WEBHOOKS, json={"url": url}))


def _ping_a_disabled_webhook(bench: Bench) -> Document:
    place = f"{_WEBHOOKS}/{_make_webhook(bench, _PUBLIC)['id']}"
    bench.gateway.http.patch(place, json={"enabled": False})
    problem = read_json(bench.gateway.http.post(f"{place}/ping"))
    bench.gateway.http.delete(place)
    return problem


def _make_too_many_webhooks(bench: Bench) -> Document:
    made = [_make_webhook(bench, _PUBLIC) for _ in range(MOST_WEBHOOKS + 1)]
    for webhook in made[:-1]:
        bench.gateway.http.delete(f"{_WEBHOOKS}/{webhook['id']}")
    return made[-1]


GENERATORS: Mapping[ProblemCode, Generator] = {
    ProblemCode.EMPTY_UPLOAD: lambda bench: _post(bench, b""),
    ProblemCode.NOT_AN_ARCHIVE: lambda bench: _post(bench, b"\xff\xd8\xff\xe0\x00\x10JFIF\x00"),
    ProblemCode.UPLOAD_TOO_LARGE: lambda bench: _post(bench, ZIP.ljust(UPLOAD_LIMIT_BYTES + 1, b"\0")),
    ProblemCode.UPLOAD_INTERRUPTED: _break_off,
    ProblemCode.CHECKSUM_MISMATCH: lambda bench: _post(bench, Content_Digest=_DIGEST_OF_NOTHING),
    ProblemCode.MALFORMED_REQUEST: lambda bench: _post(bench, Content_Type="multipart/form-data"),
    ProblemCode.UNSUPPORTED_MEDIA_TYPE: lambda bench: read_json(bench.gateway.http.post(_WEBHOOKS, content=b"{}")),
    ProblemCode.VALIDATION_FAILED: lambda bench: _post(bench, query="?priority=10"),
    ProblemCode.IDEMPOTENCY_KEY_INVALID: lambda bench: _post(bench, Idempotency_Key="x" * 300),
    ProblemCode.IDEMPOTENCY_KEY_REUSED: _reuse_a_key,
    ProblemCode.IDEMPOTENCY_KEY_IN_FLIGHT: _repeat_while_in_flight,
    ProblemCode.NOT_FOUND: lambda bench: bench.get("/v1/job"),
    ProblemCode.METHOD_NOT_ALLOWED: lambda bench: read_json(bench.gateway.http.put(_PATH, content=ZIP)),
    ProblemCode.JOB_NOT_FOUND: lambda bench: bench.get(f"{_PATH}/{uuid.uuid4()}"),
    ProblemCode.ERASED: _erase_twice,
    ProblemCode.JOB_NOT_FINISHED: lambda bench: bench.get(f"{_PATH}/{bench.submit(ZIP)}/result"),
    ProblemCode.JOB_HAS_NO_RESULT: _ask_for_the_result_of_a_refused_study,
    ProblemCode.JOB_ALREADY_FINISHED: _cancel_what_has_ended,
    ProblemCode.JOB_CANNOT_BE_RETRIED: lambda bench: read_json(
        bench.gateway.http.post(f"{_PATH}/{bench.submit(ZIP)}/retry")
    ),
    ProblemCode.TOO_MANY_STREAMS: _open_one_stream_too_many,
    ProblemCode.CALLBACK_URL_NOT_ALLOWED: lambda bench: _make_webhook(bench, "http://169.254.169.254/"),
    ProblemCode.WEBHOOK_NOT_FOUND: lambda bench: bench.get(f"{_WEBHOOKS}/{uuid.uuid4()}"),
    ProblemCode.WEBHOOK_DISABLED: _ping_a_disabled_webhook,
    ProblemCode.WEBHOOK_LIMIT_REACHED: _make_too_many_webhooks,
    ProblemCode.INTAKE_NOT_FINISHED: lambda bench: bench.get(f"{_PATH}/{bench.submit(ZIP)}/intake"),
}
