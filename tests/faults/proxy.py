"""A proxy between the platform and one of its servers: it refuses, cuts, delays, starves and changes answers."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TypeVar

Answer = TypeVar("Answer")
HOST = "127.0.0.1"
_LIMIT_S = 10
_FOR_EVER_S = 3600
_CHUNK_BYTES = 64 * 1024
_TICKS_PER_S = 20
_SERVER_ERROR = b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


@dataclass(frozen=True)
class Conditions:
    """What happens on the line. The default lets everything pass."""

    refuses: bool = False
    """New connections are closed before a byte."""
    fails: bool = False
    """Every HTTP request is answered with 500, and the server not asked."""
    hangs: bool = False
    """Connections open, and nothing passes in either direction."""
    delay_s: float = 0.0
    """Each piece waits so long before it passes."""
    answer_bytes_per_s: int | None = None
    """How much of the server's answers passes on one connection."""
    answer_limit_bytes: int | None = None
    """The connection is cut once so much of the server's answers has passed."""
    changes_answers: bool = False
    """One bit of each large piece of the server's answers is turned over."""


CLEAR = Conditions()


class Proxy:
    """Listens on a port of its own and passes bytes on to `port` of this machine, as the conditions let it."""

    def __init__(self, port: int) -> None:
        self.conditions = CLEAR
        self.own_port = 0
        self._server_port = port
        self._loop = asyncio.new_event_loop()
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy")

    def start(self) -> None:
        """Begin to listen."""
        self._thread.start()
        self._run(self._listen())

    def stop(self) -> None:
        """Cut every connection and stop listening."""
        self._run(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def cut(self) -> int:
        """Cut every connection that is open now; return how many there were."""
        return self._run(self._cut())

    @contextmanager
    def under(self, conditions: Conditions) -> Iterator[None]:
        """Change the conditions while the block runs; what is open is cut before, so that all meet them."""
        self.conditions = conditions
        self.cut()
        try:
            yield
        finally:
            self.conditions = CLEAR
            self.cut()

    def _run(self, work: Coroutine[object, object, Answer]) -> Answer:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(_LIMIT_S)

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._serve, HOST, 0)
        self.own_port = self._server.sockets[0].getsockname()[1]

    async def _close(self) -> None:
        assert self._server is not None
        self._server.close()
        await self._cut()

    async def _cut(self) -> int:
        connections = list(self._connections)
        for connection in connections:
            connection.cancel()
        await asyncio.gather(*connections, return_exceptions=True)
        return len(connections)

    async def _serve(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        try:
            with suppress(OSError, asyncio.IncompleteReadError):
                await self._connect(client, to_client)
        except asyncio.CancelledError:
            to_client.transport.abort()
        finally:
            self._connections.discard(task)
            to_client.close()

    async def _connect(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        if self.conditions.refuses:
            return
        if self.conditions.fails:
            await client.readuntil(b"\r\n\r\n")
            to_client.write(_SERVER_ERROR)
            await to_client.drain()
            return
        server, to_server = await asyncio.open_connection(HOST, self._server_port)
        try:
            await _race(self._pass_on(client, to_server), self._pass_back(server, to_client))
        finally:
            to_server.transport.abort()

    async def _pass_on(self, client: asyncio.StreamReader, to_server: asyncio.StreamWriter) -> None:
        while piece := await client.read(_CHUNK_BYTES):
            await self._hold()
            to_server.write(piece)
            await to_server.drain()

    async def _pass_back(self, server: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        passed_bytes = 0
        while piece := await server.read(self._piece_bytes()):
            await self._hold()
            if self.conditions.answer_bytes_per_s is not None:
                await asyncio.sleep(1 / _TICKS_PER_S)
            limit = self.conditions.answer_limit_bytes
            rest = None if limit is None else max(0, limit - passed_bytes)
            to_client.write(self._change(piece)[:rest])
            await to_client.drain()
            passed_bytes += len(piece)
            if rest is not None and len(piece) >= rest:
                return

    def _piece_bytes(self) -> int:
        rate = self.conditions.answer_bytes_per_s
        return _CHUNK_BYTES if rate is None else max(1, rate // _TICKS_PER_S)

    async def _hold(self) -> None:
        if self.conditions.hangs:
            await asyncio.sleep(_FOR_EVER_S)  # until it is cut
        if self.conditions.delay_s:
            await asyncio.sleep(self.conditions.delay_s)

    def _change(self, piece: bytes) -> bytes:
        if not self.conditions.changes_answers or len(piece) < _CHUNK_BYTES // 8:
            return piece
        return piece[:-1] + bytes([piece[-1] ^ 1])


async def _race(*works: Awaitable[None]) -> None:
    """Run until one side ends; then the other is of no use."""
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@contextmanager
def proxy_to(port: int) -> Iterator[Proxy]:
    """Run a proxy before a port of this machine while the block runs."""
    proxy = Proxy(port)
    proxy.start()
    try:
        yield proxy
    finally:
        proxy.stop()
