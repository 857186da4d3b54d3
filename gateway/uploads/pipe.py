"""A bounded pipe from the event loop to one thread: what lets a blocking S3 client read an asynchronous request."""

from __future__ import annotations

import asyncio
import threading
from collections import deque

from shared.byte_units import MIB
from shared.errors import InputProblem
from shared.problems import ProblemCode

CAPACITY_BYTES = 2 * MIB
READ_LIMIT_S = 120.0
"""Longest time that the reader waits for a byte; far above what the writer waits for its client."""


class BodyPipe:
    """Bytes in order. `write`, `end` and `abort` belong to the event loop; `read` belongs to the thread."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._has_room = asyncio.Event()
        self._changed = threading.Condition()
        self._chunks: deque[bytes] = deque()
        self._held_bytes = 0
        self._has_ended = False
        self._is_broken = False
        self._reader_left = False

    async def write(self, chunk: bytes) -> bool:
        """Add a chunk and wait until there is room for the next; False once nobody reads any more."""
        with self._changed:
            self._chunks.append(chunk)
            self._held_bytes += len(chunk)
            self._changed.notify()
        while self._is_full():
            await self._has_room.wait()
        return not self._reader_left

    def end(self) -> None:
        """Say that the body is complete."""
        with self._changed:
            self._has_ended = True
            self._changed.notify()

    def abort(self) -> None:
        """Say that the body broke off: the reader's next read raises, so that it can undo its work."""
        with self._changed:
            self._is_broken = True
            self._changed.notify()

    def leave(self) -> None:
        """Say that nobody reads any more, so that the writer does not wait for room."""
        self._reader_left = True
        self._has_room.set()

    def read(self, size: int = -1, /) -> bytes:
        """Return exactly `size` bytes, fewer at the end of the body only. Raises InputProblem when it broke off."""
        if size < 0:
            raise ValueError("the pipe is read in pieces: name a size")
        pieces: list[bytes] = []
        missing = size
        while missing:
            piece = self._take(missing)
            if not piece:
                break
            pieces.append(piece)
            missing -= len(piece)
        return b"".join(pieces)

    def _take(self, most: int) -> bytes:
        with self._changed:
            self._await_change()
            if self._is_broken:
                raise InputProblem(ProblemCode.UPLOAD_INTERRUPTED, "The body broke off.")
            if not self._chunks:
                return b""
            chunk = self._chunks.popleft()
            if len(chunk) > most:
                self._chunks.appendleft(chunk[most:])
                chunk = chunk[:most]
            self._held_bytes -= len(chunk)
        self._loop.call_soon_threadsafe(self._has_room.set)
        return chunk

    def _await_change(self) -> None:
        arrived = self._changed.wait_for(
            lambda: bool(self._chunks or self._has_ended or self._is_broken), timeout=READ_LIMIT_S
        )
        if not arrived:
            raise InputProblem(ProblemCode.UPLOAD_INTERRUPTED, f"No byte came for {READ_LIMIT_S:g} s.")

    def _is_full(self) -> bool:
        self._has_room.clear()
        return self._held_bytes > CAPACITY_BYTES and not self._reader_left
