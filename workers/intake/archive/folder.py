"""A folder as a study, for `ctclip inspect`: the files below it, links left alone."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from isal import isal_zlib

from shared.byte_units import MIB
from shared.errors import InputProblem
from shared.problems import ProblemCode
from workers.intake.archive.content import ExpansionBudget
from workers.intake.archive.directory import expands_too_far
from workers.intake.archive.members import LARGEST_IN_MEMORY
from workers.intake.files import FileCode, FileRejected
from workers.intake.limits import IntakeLimits


@dataclass(frozen=True)
class FolderMember:
    """One file below a folder."""

    path: Path
    ordinal: int
    name: str
    size_bytes: int

    @cached_property
    def crc32(self) -> int:
        """Checksum of the content."""
        checksum = 0
        for piece in self._iterate():
            checksum = isal_zlib.crc32(piece, checksum)
        return int(checksum)

    @property
    def fits_memory(self) -> bool:
        """Whether the file is small."""
        return self.size_bytes <= LARGEST_IN_MEMORY

    def read_beginning(self, length: int) -> bytes:
        """Return at most `length` bytes from the beginning."""
        return next(self._iterate(min(length, self.size_bytes)), b"")

    def read(self, budget: ExpansionBudget) -> bytes:
        """Return the content."""
        return b"".join(self.iterate(budget))

    def iterate(self, budget: ExpansionBudget) -> Iterator[bytes]:
        """Yield the content in pieces of at most 1 MiB."""
        for piece in self._iterate():
            budget.spend(len(piece))
            yield piece

    def _iterate(self, piece_bytes: int = MIB) -> Iterator[bytes]:
        try:
            with self.path.open("rb", buffering=0) as file:
                left = self.size_bytes
                while left and (piece := file.read(min(left, piece_bytes))):
                    left -= len(piece)
                    yield piece
        except OSError as error:
            raise FileRejected(
                FileCode.ENTRY_DAMAGED, f"the file cannot be read ({os.strerror(error.errno or 0)})"
            ) from None


def open_folder(folder: Path, limits: IntakeLimits) -> tuple[FolderMember, ...]:
    """Return the regular files below a folder, by name. Raises InputProblem beyond the limits."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    if len(paths) > limits.archive_entries:
        detail = f"The folder holds {len(paths)} files; {limits.archive_entries} are allowed."
        raise InputProblem(ProblemCode.ARCHIVE_TOO_MANY_ENTRIES, detail, limit_entries=limits.archive_entries)
    members = tuple(
        FolderMember(path, ordinal, path.relative_to(folder).as_posix(), path.stat().st_size)
        for ordinal, path in enumerate(paths)
    )
    if sum(member.size_bytes for member in members) > limits.archive_bytes:
        raise expands_too_far(limits.archive_bytes)
    return members
