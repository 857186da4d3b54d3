"""HTTP/1.1 written by hand, for requests that no HTTP library would send: lying lengths, cut bodies, broken headers."""

from __future__ import annotations

import json
import socket
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from select import select
from typing import Any
from urllib.parse import urlsplit

_TIMEOUT_S = 120.0
_GRACE_S = 0.5
_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True)
class Answer:
    """An answer; `document` is its JSON object, empty when it brought none. Status 0: the connection just closed."""

    status: int
    document: Mapping[str, Any]
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class RawRequest:
    """A POST whose head is sent exactly as it stands here."""

    url: str
    headers: Mapping[str, str]
    body: Path
    content_length: int
    raw_header: str | None = None

    def format_head(self) -> bytes:
        """Return request line and headers."""
        parts = urlsplit(self.url)
        lines = [
            f"POST {parts.path}?{parts.query} HTTP/1.1",
            f"Host: {parts.netloc}",
            "Connection: close",
            *(f"{name}: {value}" for name, value in self.headers.items()),
            *([self.raw_header] if self.raw_header is not None else []),
            f"Content-Length: {self.content_length}",
        ]
        return "\r\n".join([*lines, "", ""]).encode("latin-1")


def post(request: RawRequest) -> Answer:
    """Send a request with its whole body and return the answer."""
    with _connected(request.url) as connection:
        with suppress(ConnectionError):  # refused before the body was sent: the answer is there all the same
            _send(connection, request, None)
        return _read_answer(connection)


def post_and_leave(request: RawRequest, length: int) -> None:
    """Send a request with the first bytes of its body, and go away."""
    with _connected(request.url) as connection, suppress(ConnectionError):
        _send(connection, request, length)


def _send(connection: socket.socket, request: RawRequest, length: int | None) -> None:
    connection.sendall(request.format_head())
    if request.raw_header is not None and _is_answered(connection):
        return
    left = request.body.stat().st_size if length is None else length
    with request.body.open("rb") as stream:
        while left > 0 and (chunk := stream.read(min(_CHUNK_BYTES, left))):
            connection.sendall(chunk)
            left -= len(chunk)


def _is_answered(connection: socket.socket) -> bool:
    """Whether an answer comes to the head alone, as RFC 9112, 9.5 has a client watch for one while it sends.

    Whoever refuses a head closes at once, and what is sent after that can take the answer away.
    """
    return not isinstance(connection, ssl.SSLSocket) and bool(select([connection], [], [], _GRACE_S)[0])


def _read_answer(connection: socket.socket) -> Answer:
    try:
        response = HTTPResponse(connection, method="POST")
        response.begin()
        content = response.read()
    except (HTTPException, ConnectionError):
        return Answer(0, {})
    return Answer(response.status, parse_object(content), dict(response.headers.items()))


def parse_object(content: bytes) -> Mapping[str, Any]:
    """Return the JSON object of a body, or an empty one."""
    try:
        document = json.loads(content)
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}


@contextmanager
def _connected(url: str) -> Iterator[socket.socket]:
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    with socket.create_connection((parts.hostname or "", port), timeout=_TIMEOUT_S) as plain:
        if parts.scheme != "https":
            yield plain
            return
        with ssl.create_default_context().wrap_socket(plain, server_hostname=parts.hostname) as secure:
            yield secure
