"""A scratch file for what is too large to be held in memory; nothing but us names it."""

from __future__ import annotations

import mmap
import os
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self


@dataclass(frozen=True)
class Spooled:
    """A content in a scratch file, to be read anywhere by any thread as long as the file is open."""

    descriptor: int
    start: int
    size_bytes: int

    def read_at(self, offset: int, length: int) -> bytes:
        """Return `length` bytes from `offset`; fewer only at the end."""
        return os.pread(self.descriptor, max(0, min(length, self.size_bytes - offset)), self.start + offset)

    def view(self) -> memoryview:
        """Return the content without reading it; the pages that are looked at come into memory."""
        return memoryview(mmap.mmap(self.descriptor, self.size_bytes, access=mmap.ACCESS_READ, offset=self.start))


class Spool:
    """An anonymous file that takes in one content behind the other.

    One file for all of them: a study may have hundreds, and the process that reads it may open few files.
    """

    def __init__(self, folder: Path) -> None:
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115  # closed by __exit__
        self._end = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._file.close()

    def take(self, pieces: Iterable[bytes]) -> Spooled:
        """Write all pieces, one behind the other, and return them as one. Not for several threads at once."""
        start = -(-self._end // mmap.ALLOCATIONGRANULARITY) * mmap.ALLOCATIONGRANULARITY  # views begin at a page
        self._end = start
        for piece in pieces:
            view = memoryview(piece)
            while view:
                written = os.pwrite(self._file.fileno(), view, self._end)
                self._end += written
                view = view[written:]
        return Spooled(self._file.fileno(), start, self._end - start)
