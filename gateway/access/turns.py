"""Bodies that come in at once, counted for each tenant: slow uploads of one must not keep all others out."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from python_multipart.multipart import parse_options_header
from starlette.datastructures import Headers
from starlette.types import Message, Receive, Scope

from gateway.access.errors import TenantUploadsBusy

_JSON = b"application/json"  # as the routes tell it, or a file could come in by a type that only looks like it


class UploadTurns:
    """Counts the bodies of each tenant on their way into this process.

    One that finds no turn waits `patience_s` for it: many quick ones at once all come in.
    """

    def __init__(self, limit: int, patience_s: float) -> None:
        self._limit = limit
        self._patience_s = patience_s
        self._free: defaultdict[str, asyncio.Semaphore] = defaultdict(lambda: asyncio.Semaphore(limit))
        self._asked: defaultdict[str, int] = defaultdict(int)

    @asynccontextmanager
    async def take(self, tenant: str, scope: Scope, receive: Receive) -> AsyncIterator[Receive]:
        """Count a request while its body comes, and yield what to read it with. Raises TenantUploadsBusy."""
        if not _brings_file(scope):
            yield receive
            return
        self._asked[tenant] += 1
        try:
            turn = await self._wait(tenant, receive)
            try:
                yield turn.receive
            finally:
                turn.end()
        finally:
            self._leave(tenant)

    async def _wait(self, tenant: str, receive: Receive) -> _Turn:
        try:
            async with asyncio.timeout(self._patience_s):
                await self._free[tenant].acquire()
        except TimeoutError as error:
            raise TenantUploadsBusy(self._limit) from error
        return _Turn(self._free[tenant], receive)

    def _leave(self, tenant: str) -> None:
        self._asked[tenant] -= 1
        if not self._asked[tenant]:  # tenants would gather without end
            del self._asked[tenant], self._free[tenant]


class _Turn:
    """One body. Its turn ends with its last byte: an answer may wait for minutes after that."""

    def __init__(self, free: asyncio.Semaphore, receive: Receive) -> None:
        self._free = free
        self._receive = receive
        self._has_ended = False

    async def receive(self) -> Message:
        message = await self._receive()
        if not message.get("more_body", False):
            self.end()
        return message

    def end(self) -> None:
        if not self._has_ended:
            self._has_ended = True
            self._free.release()


def _brings_file(scope: Scope) -> bool:
    """Say whether a body is one that goes to storage: a part does whatever its type says, and JSON nowhere else."""
    headers = Headers(scope=scope)
    has_body = "transfer-encoding" in headers or headers.get("content-length", "0") != "0"
    media_type, _ = parse_options_header(headers.get("content-type"))
    return has_body and (media_type != _JSON or scope["method"] == "PUT")
