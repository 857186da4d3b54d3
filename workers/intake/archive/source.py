"""Bytes by offset: from a local file, or from an object over HTTP range requests.

The archive is read once and in order, so the HTTP source fetches large blocks and always one ahead.
"""

from __future__ import annotations

import os
import re
from collections import OrderedDict
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

import urllib3

from shared.errors import TransientFault
from shared.problems import ProblemCode
from shared.settings import MIB

_BLOCK_BYTES = 4 * MIB
_BLOCKS_KEPT = 6
_TIMEOUT = urllib3.Timeout(connect=5, read=60)
_CONTENT_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+)")
_RETRY = urllib3.Retry(total=4, backoff_factor=0.2, status_forcelist=(500, 502, 503, 504))


class ByteSource(Protocol):
    """Something with a length whose bytes can be read anywhere."""

    @property
    def size_bytes(self) -> int:
        """Number of bytes."""

    def read_at(self, offset: int, length: int) -> bytes:
        """Return `length` bytes from `offset`; fewer only at the end."""


class FileSource:
    """A local file."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("rb")
        self.size_bytes = os.fstat(self._file.fileno()).st_size

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._file.close()

    def read_at(self, offset: int, length: int) -> bytes:
        """Return `length` bytes from `offset`; fewer only at the end."""
        return os.pread(self._file.fileno(), length, offset)


class HttpSource:
    """An object behind an address that honours ranges. Memory: a few blocks of a few MiB.

    Raises TransientFault when storage does not answer as it should.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._pool = urllib3.PoolManager(timeout=_TIMEOUT, retries=_RETRY, maxsize=2)
        self._ahead = ThreadPoolExecutor(max_workers=1, thread_name_prefix="read-ahead")
        self._blocks: OrderedDict[int, Future[bytes]] = OrderedDict()
        self.size_bytes = 0
        first, self.size_bytes = self._fetch(0)
        self._blocks[0] = Future()
        self._blocks[0].set_result(first)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._ahead.shutdown(wait=False, cancel_futures=True)
        self._pool.clear()

    def read_at(self, offset: int, length: int) -> bytes:
        """Return `length` bytes from `offset`; fewer only at the end."""
        end = min(offset + length, self.size_bytes)
        parts = []
        while offset < end:
            number, start = divmod(offset, _BLOCK_BYTES)
            part = self._get_block(number)[start : start + end - offset]
            parts.append(part)
            offset += len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _get_block(self, number: int) -> bytes:
        block = self._request(number).result()
        if (number + 1) * _BLOCK_BYTES < self.size_bytes:
            self._request(number + 1)
        while len(self._blocks) > _BLOCKS_KEPT:
            self._blocks.popitem(last=False)
        return block

    def _request(self, number: int) -> Future[bytes]:
        if number not in self._blocks:
            self._blocks[number] = self._ahead.submit(lambda: self._fetch(number)[0])
        self._blocks.move_to_end(number)
        return self._blocks[number]

    def _fetch(self, number: int) -> tuple[bytes, int]:
        """Return one block and the size of the whole object."""
        first = number * _BLOCK_BYTES
        headers = {"Range": f"bytes={first}-{first + _BLOCK_BYTES - 1}"}
        try:
            response = self._pool.request("GET", self._url, headers=headers)
        except urllib3.exceptions.HTTPError as error:
            # The address holds a signature, and the client's messages quote it.
            raise TransientFault(ProblemCode.STORAGE_UNAVAILABLE, f"upload: {type(error).__name__}") from None
        start, total = _parse_range(response.headers.get("Content-Range"))
        # rclone answers 200 where RFC 9110 asks for 206; the Content-Range is what says which bytes came.
        if response.status not in {200, 206} or start != first:
            raise TransientFault(ProblemCode.STORAGE_UNAVAILABLE, f"upload: storage answered {response.status}")
        if len(response.data) != min(_BLOCK_BYTES, total - first):
            raise TransientFault(ProblemCode.STORAGE_UNAVAILABLE, "upload: storage sent fewer bytes than asked for")
        return response.data, total


def _parse_range(content_range: str | None) -> tuple[int, int]:
    """Return where the bytes start and how many there are in all, from `bytes 0-99/1234`; else -1 and 0."""
    found = _CONTENT_RANGE.fullmatch(content_range or "")
    return (int(found[1]), int(found[2])) if found else (-1, 0)
