"""An object on its way to a caller: a blocking S3 client reads it piece by piece, the answer is sent as it comes.

A thread is held for a piece, not for the whole. What an open download holds all the time is bounded by its place, of
which there are so many; a caller who takes next to nothing for a minute is given up, and the place is free again.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import ExitStack

from starlette.requests import ClientDisconnect
from starlette.responses import StreamingResponse
from starlette.types import Message, Receive, Scope, Send

from gateway.resources import Resources
from gateway.tenants import Tenant
from shared.byte_units import MIB
from shared.errors import TransientFault
from shared.storage import StoredObject

_SEND_LIMIT_S = 60.0
_SENT_BYTES = MIB // 16  # at once: a slow line must take so much, not a whole piece, within the limit


class DownloadBrokeOff(Exception):  # like all our errors, it says what happened
    """Storage failed, or gave other bytes than were written, when part of the answer was out."""


async def open_download(resources: Resources, tenant: Tenant, stored: StoredObject) -> Download:
    """Return the bytes of an object, to be closed by who gets them; the first have come when this returns.

    Raises TooManyDownloads, and TransientFault or Defect when there is nothing to send. A later fault breaks the
    iteration off, and with it the answer, so that no caller takes a part for the whole: length and digest are checked
    by the way.
    """
    download = Download(resources, stored, await resources.download_places.take(tenant))
    try:
        await download.begin()
    except BaseException:
        download.close()
        raise
    return download


class Download(AsyncIterator[bytes]):
    """The pieces of an object, read ahead by one. The last is held back until the whole was checked.

    Each is read on a thread of its own turn. Storage's connection and the place are held until `close`.
    """

    def __init__(self, resources: Resources, stored: StoredObject, place: ExitStack) -> None:
        self._threads = resources.downloads
        self._pieces = resources.store.iterate(stored)
        self._place = place
        self._held = b""
        self._ahead = asyncio.ensure_future(self._read())

    async def begin(self) -> None:
        """Wait for the first piece."""
        self._held = await asyncio.shield(self._ahead)
        self._ahead = asyncio.ensure_future(self._read())

    async def __anext__(self) -> bytes:
        """Return the next piece. Raises DownloadBrokeOff."""
        if not self._held:
            raise StopAsyncIteration
        try:
            piece = await asyncio.shield(self._ahead)
        except TransientFault as fault:
            raise DownloadBrokeOff from fault
        if piece:
            self._ahead = asyncio.ensure_future(self._read())
        held, self._held = self._held, piece
        return held

    def close(self) -> None:
        """Give everything back, once the piece that was asked for last has come: a thread is still reading it."""
        self._ahead.add_done_callback(self._give_back)

    async def _read(self) -> bytes:
        """Return the next piece; nothing at the end, once the whole was checked."""
        return await self._threads.run(lambda: next(self._pieces, b""))

    def _give_back(self, read: asyncio.Future[bytes]) -> None:
        _ = read.cancelled() or read.exception()  # asked for, or asyncio would report it
        self._pieces.close()
        self._place.close()


class DownloadResponse(StreamingResponse):
    """Sends a download and closes it, however the sending ends: a caller may leave before it begins."""

    def __init__(self, download: Download, *, media_type: str, headers: Mapping[str, str]) -> None:
        super().__init__(_cut(download), media_type=media_type, headers=headers)
        self._download = download

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._download.close()

    async def stream_response(self, send: Send) -> None:
        """Send head and body. Raises ClientDisconnect when the caller has taken nothing for too long."""

        async def send_in_time(message: Message) -> None:
            try:
                async with asyncio.timeout(_SEND_LIMIT_S):
                    await send(message)
            except TimeoutError as error:
                raise ClientDisconnect from error

        await super().stream_response(send_in_time)


async def _cut(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    async for piece in pieces:
        for start in range(0, len(piece), _SENT_BYTES):
            yield piece[start : start + _SENT_BYTES]
