"""The files of a study, whatever holds them: each can be looked at, and read whole or in pieces, by any thread."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

from shared.byte_units import MIB
from workers.intake.archive.content import (
    ExpansionBudget,
    iterate_content,
    locate_content,
    read_beginning,
    read_whole,
)
from workers.intake.archive.directory import Entry, read_directory
from workers.intake.archive.source import ByteSource
from workers.intake.limits import IntakeLimits

LARGEST_IN_MEMORY = 16 * MIB
"""Files up to this size may be held in memory, one for each thread. A slice takes 0.1 to 2 MiB."""


class Member(Protocol):
    """One file of a study. `ordinal` names it in reports; `name` is data, not a path."""

    @property
    def ordinal(self) -> int:
        """Number in the report."""

    @property
    def name(self) -> str:
        """Name as text, not yet fit to be shown."""

    @property
    def size_bytes(self) -> int:
        """Expanded size, as far as it can be told without reading."""

    @property
    def crc32(self) -> int:
        """Checksum of the content; tells files apart that are otherwise alike."""

    @property
    def fits_memory(self) -> bool:
        """Whether `read` may be called."""

    def read_beginning(self, length: int) -> bytes:
        """Return at most `length` bytes from the beginning, unchecked."""

    def read(self, budget: ExpansionBudget) -> bytes:
        """Return the content, checked."""

    def iterate(self, budget: ExpansionBudget) -> Iterator[bytes]:
        """Yield the content in pieces of at most 1 MiB; it has been checked once all were taken."""


@dataclass(frozen=True)
class ZipMember:
    """One entry of a ZIP."""

    source: ByteSource
    entry: Entry
    name: str

    @property
    def ordinal(self) -> int:
        """Number in the report."""
        return self.entry.ordinal

    @property
    def size_bytes(self) -> int:
        """Size as declared; never believed."""
        return self.entry.declared_bytes

    @property
    def crc32(self) -> int:
        """Checksum as declared; `read` and `iterate` check it."""
        return self.entry.crc32

    @property
    def fits_memory(self) -> bool:
        """Whether both forms of the content are small."""
        return max(self.entry.declared_bytes, self.entry.compressed_bytes) <= LARGEST_IN_MEMORY

    @cached_property
    def _start(self) -> int:
        return locate_content(self.source, self.entry)

    def read_beginning(self, length: int) -> bytes:
        """Return at most `length` bytes from the beginning, unchecked."""
        return read_beginning(self.source, self.entry, self._start, length)

    def read(self, budget: ExpansionBudget) -> bytes:
        """Return the content, checked."""
        content = read_whole(self.source, self.entry, self._start)
        budget.spend(len(content))
        return content

    def iterate(self, budget: ExpansionBudget) -> Iterator[bytes]:
        """Yield the content in pieces of at most 1 MiB; it has been checked once all were taken."""
        for piece in iterate_content(self.source, self.entry, self._start):
            budget.spend(len(piece))
            yield piece


def open_zip(
    source: ByteSource, limits: IntakeLimits, *, first_ordinal: int = 0, prefix: str = ""
) -> tuple[ZipMember, ...]:
    """Return the files of a ZIP in the order of their bytes. Raises InputProblem for one that must not be read."""
    return tuple(
        ZipMember(source, entry, prefix + entry.name)
        for entry in read_directory(source, limits, first_ordinal)
        if not entry.is_folder
    )
