"""Bytes by offset: from a local file, or from an object over HTTP range requests."""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

import urllib3

from shared.byte_units import MIB
from shared.errors import TransientFault
from shared.problems import ProblemCode

_BLOCK_BYTES = 4 * MIB
_BLOCKS_UNDER_WAY = 3
_HASHED_AT_ONCE_BYTES = MIB
_TIMEOUT = urllib3.Timeout(connect=5, read=60)
_CONTENT_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+)")
_RETRY = urllib3.Retry(total=4, backoff_factor=0.2, status_forcelist=(500, 502, 503, 504))


class ByteSource(Protocol):
    """Something with a length whose bytes can be read anywhere, by several threads."""

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
    """An object behind an address that honours ranges. Each byte travels once: what came is kept in a scratch file.

    Headers are read first and pixels afterwards, both from front to back, so the next blocks are always under way
    while one is worked on. Memory: the blocks under way. Raises TransientFault when storage does not answer as it
    should.
    """

    def __init__(self, url: str, scratch: Path) -> None:
        self._url = url
        self._copy = tempfile.TemporaryFile(dir=scratch)  # noqa: SIM115  # closed by __exit__
        self._pool = urllib3.PoolManager(timeout=_TIMEOUT, retries=_RETRY, maxsize=_BLOCKS_UNDER_WAY)
        self._fetchers = ThreadPoolExecutor(max_workers=_BLOCKS_UNDER_WAY, thread_name_prefix="fetch")
        self._lock = threading.Lock()
        self._blocks: dict[int, Future[int]] = {0: Future()}
        self.size_bytes = self._fetch(0)
        self._blocks[0].set_result(self.size_bytes)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._fetchers.shutdown(cancel_futures=True)
        self._pool.clear()
        self._copy.close()

    def read_at(self, offset: int, length: int) -> bytes:
        """Return `length` bytes from `offset`; fewer only at the end."""
        end = min(offset + length, self.size_bytes)
        if offset >= end:
            return b""
        for number in range(offset // _BLOCK_BYTES, (end - 1) // _BLOCK_BYTES + 1):
            self._require(number)
        return os.pread(self._copy.fileno(), end - offset, offset)

    def require_sent(self, sha256: str) -> None:
        """Fetch what was not read, and hold all of it against the digest of what was sent.

        Raises TransientFault where other bytes came.
        """
        digest = hashlib.sha256()
        for offset in range(0, self.size_bytes, _HASHED_AT_ONCE_BYTES):
            digest.update(self.read_at(offset, _HASHED_AT_ONCE_BYTES))
        if digest.hexdigest() != sha256:
            raise TransientFault(ProblemCode.STORAGE_UNAVAILABLE, "upload: storage sent other bytes than were stored")

    def _require(self, number: int) -> None:
        """Wait until a block is there, with the next ones under way."""
        block = self._blocks.get(number)
        if block is None or not block.done():
            with self._lock:
                for following in range(number, number + _BLOCKS_UNDER_WAY):
                    if following not in self._blocks and following * _BLOCK_BYTES < self.size_bytes:
                        self._blocks[following] = self._fetchers.submit(self._fetch, following)
        self._blocks[number].result()

    def _fetch(self, number: int) -> int:
        """Copy one block into the scratch file; return the size of the whole object."""
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
        _write_at(self._copy.fileno(), response.data, first)
        return total


def _write_at(descriptor: int, content: bytes, offset: int) -> None:
    view = memoryview(content)
    while view:
        written = os.pwrite(descriptor, view, offset)
        view, offset = view[written:], offset + written


def _parse_range(content_range: str | None) -> tuple[int, int]:
    """Return where the bytes start and how many there are in all, from `bytes 0-99/1234`; else -1 and 0."""
    found = _CONTENT_RANGE.fullmatch(content_range or "")
    return (int(found[1]), int(found[2])) if found else (-1, 0)
