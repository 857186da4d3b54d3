"""A pipe from one thread to the event loop: a blocking S3 client writes, the answer is sent as it comes."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import AsyncIterator

from gateway.resources import Resources
from shared.byte_units import MIB
from shared.errors import TransientFault
from shared.problems import ProblemCode
from shared.storage import StoredObject

_CAPACITY_BYTES = 4 * MIB
_WRITE_LIMIT_S = 60.0
"""A caller that takes nothing for this long is given up."""


async def open_download(resources: Resources, stored: StoredObject) -> AsyncIterator[bytes]:
    """Return the bytes of an object as an iterator; the first of them have come when this returns.

    Raises TransientFault or Defect when there is nothing to send. A later fault breaks the iterator off, and with
    it the answer, so that no caller takes a part for the whole: length and digest are checked by the way.
    """
    pipe = _DownloadPipe()
    fetching = asyncio.ensure_future(resources.downloads.run(lambda: resources.store.fetch(stored, pipe)))
    fetching.add_done_callback(lambda _: pipe.end())
    if not await pipe.wait():
        await fetching
    return _iterate(pipe, fetching)


class DownloadBrokeOff(Exception):  # like all our errors, it says what happened
    """Storage failed, or gave other bytes than were written, when part of the answer was out."""


async def _iterate(pipe: _DownloadPipe, fetching: asyncio.Future[None]) -> AsyncIterator[bytes]:
    """Yield the bytes. The last of them are held back until the whole was checked."""
    held = b""
    try:
        while await pipe.wait():
            if held:
                yield held
            held = pipe.take()
        await fetching
    except TransientFault as fault:
        raise DownloadBrokeOff from fault
    finally:
        pipe.leave()
        fetching.add_done_callback(lambda done: done.cancelled() or done.exception())
    yield held


class _DownloadPipe:
    """Bytes in order. `write` belongs to the thread, everything else to the event loop."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._arrived = asyncio.Event()
        self._changed = threading.Condition()
        self._chunks: deque[bytes] = deque()
        self._held_bytes = 0
        self._has_ended = False
        self._reader_left = False

    def write(self, chunk: bytes, /) -> int:
        """Add a chunk, and wait while the caller is behind. Raises TransientFault once nobody reads any more."""
        with self._changed:
            has_room = self._changed.wait_for(
                lambda: self._held_bytes < _CAPACITY_BYTES or self._reader_left, timeout=_WRITE_LIMIT_S
            )
            if self._reader_left or not has_room:
                raise TransientFault(ProblemCode.STORAGE_UNAVAILABLE, "download: the caller left")
            self._chunks.append(chunk)
            self._held_bytes += len(chunk)
        self._loop.call_soon_threadsafe(self._arrived.set)
        return len(chunk)

    async def wait(self) -> bool:
        """Wait for bytes; False at the end."""
        while not self._chunks and not self._has_ended:
            self._arrived.clear()
            if not self._chunks:
                await self._arrived.wait()
        return bool(self._chunks)

    def take(self) -> bytes:
        """Return the next chunk."""
        with self._changed:
            chunk = self._chunks.popleft()
            self._held_bytes -= len(chunk)
            self._changed.notify()
        return chunk

    def end(self) -> None:
        """Say that no more comes."""
        self._has_ended = True
        self._arrived.set()

    def leave(self) -> None:
        """Say that nobody reads any more."""
        with self._changed:
            self._reader_left = True
            self._changed.notify()
