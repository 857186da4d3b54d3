"""An object on its way to a caller: a blocking S3 client reads it piece by piece, the answer is sent as it comes.

A thread is held for a piece, not for the whole: callers on slow lines, or who read slowly on purpose, keep nobody out.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from gateway.resources import Resources
from shared.errors import TransientFault
from shared.storage import StoredObject


class DownloadBrokeOff(Exception):  # like all our errors, it says what happened
    """Storage failed, or gave other bytes than were written, when part of the answer was out."""


async def open_download(resources: Resources, stored: StoredObject) -> AsyncIterator[bytes]:
    """Return the bytes of an object as an iterator; the first of them have come when this returns.

    Raises TransientFault or Defect when there is nothing to send. A later fault breaks the iterator off, and with
    it the answer, so that no caller takes a part for the whole: length and digest are checked by the way.
    """
    pieces = _Pieces(resources, stored)
    return _iterate(pieces, await pieces.read())


async def _iterate(pieces: _Pieces, held: bytes) -> AsyncIterator[bytes]:
    """Yield the pieces, reading ahead by one. The last is held back until the whole was checked."""
    ahead = asyncio.ensure_future(pieces.read())
    try:
        while piece := await asyncio.shield(ahead):
            ahead = asyncio.ensure_future(pieces.read())
            yield held
            held = piece
    except TransientFault as fault:
        raise DownloadBrokeOff from fault
    finally:
        # A caller who leaves does not end the reading of a piece: the connection is given back after it.
        ahead.add_done_callback(pieces.close)
    yield held


class _Pieces:
    """The pieces of an object, read one after the other, each on a thread of its own turn."""

    def __init__(self, resources: Resources, stored: StoredObject) -> None:
        self._threads = resources.downloads
        self._pieces = resources.store.iterate(stored)

    async def read(self) -> bytes:
        """Return the next piece; nothing at the end, once the whole was checked."""
        return await self._threads.run(lambda: next(self._pieces, b""))

    def close(self, read: asyncio.Future[bytes]) -> None:
        """Give the connection back, after the last piece that was asked for."""
        _ = read.cancelled() or read.exception()  # asked for, or asyncio would report it
        self._pieces.close()
