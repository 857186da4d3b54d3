"""Bodies that come in at once, counted for each tenant: slow uploads of one must not keep all others out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from python_multipart.multipart import parse_options_header
from starlette.datastructures import Headers
from starlette.types import Message, Receive, Scope

from gateway.access.errors import TenantUploadsBusy

_JSON = b"application/json"  # as the routes tell it, or a file could come in by a type that only looks like it


class UploadTurns:
    """Counts the bodies of each tenant on their way into this process."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._taken: Counter[str] = Counter()

    @contextmanager
    def take(self, tenant: str, scope: Scope, receive: Receive) -> Iterator[Receive]:
        """Count a request while its body comes, and yield what to read it with. Raises TenantUploadsBusy."""
        if not _brings_file(scope):
            yield receive
            return
        if self._taken[tenant] >= self._limit:
            raise TenantUploadsBusy(self._limit)
        turn = _Turn(self._taken, tenant, receive)
        try:
            yield turn.receive
        finally:
            turn.end()


class _Turn:
    """One body. Its turn ends with its last byte: an answer may wait for minutes after that."""

    def __init__(self, taken: Counter[str], tenant: str, receive: Receive) -> None:
        self._taken = taken
        self._tenant = tenant
        self._receive = receive
        self._has_ended = False
        taken[tenant] += 1

    async def receive(self) -> Message:
        message = await self._receive()
        if not message.get("more_body", False):
            self.end()
        return message

    def end(self) -> None:
        if self._has_ended:
            return
        self._has_ended = True
        self._taken[self._tenant] -= 1
        if not self._taken[self._tenant]:
            del self._taken[self._tenant]


def _brings_file(scope: Scope) -> bool:
    """Say whether a body is one that goes to storage: a part does whatever its type says, and JSON nowhere else."""
    headers = Headers(scope=scope)
    has_body = "transfer-encoding" in headers or headers.get("content-length", "0") != "0"
    media_type, _ = parse_options_header(headers.get("content-type"))
    return has_body and (media_type != _JSON or scope["method"] == "PUT")
