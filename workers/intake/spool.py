"""The expanded files of an archive, one behind the other in one scratch file that nothing but us names.

The archive is read once, in order; the pixels of the series that wins are read from here, so nothing is inflated
or transferred twice, and memory does not grow with the study.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self


class Spool:
    """An anonymous file that grows at its end."""

    def __init__(self, folder: Path) -> None:
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115  # closed by __exit__
        self.size_bytes = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._file.close()

    def append(self, piece: bytes) -> None:
        """Write behind what is there."""
        view = memoryview(piece)
        while view:
            written = os.pwrite(self._file.fileno(), view, self.size_bytes)
            self.size_bytes += written
            view = view[written:]

    def cut(self, size_bytes: int) -> None:
        """Forget what lies beyond `size_bytes`; the next piece overwrites it."""
        self.size_bytes = size_bytes

    def read(self, offset: int, length: int) -> bytes:
        """Return `length` bytes from `offset`."""
        return os.pread(self._file.fileno(), min(length, self.size_bytes - offset), offset)
