"""A scratch file for what is too large to be held in memory; nothing but us names it."""

from __future__ import annotations

import mmap
import os
import tempfile
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Self


class Spool:
    """An anonymous file, written once and then read anywhere by any thread."""

    def __init__(self, folder: Path) -> None:
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115  # closed by __exit__
        self.size_bytes = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._file.close()

    def fill(self, pieces: Iterable[bytes]) -> None:
        """Write all pieces, one behind the other."""
        for piece in pieces:
            view = memoryview(piece)
            while view:
                written = os.pwrite(self._file.fileno(), view, self.size_bytes)
                self.size_bytes += written
                view = view[written:]

    def read_at(self, offset: int, length: int) -> bytes:
        """Return `length` bytes from `offset`; fewer only at the end."""
        return os.pread(self._file.fileno(), max(0, min(length, self.size_bytes - offset)), offset)

    def view(self) -> memoryview:
        """Return the content without reading it; the pages that are looked at come into memory."""
        return memoryview(mmap.mmap(self._file.fileno(), self.size_bytes, access=mmap.ACCESS_READ))
