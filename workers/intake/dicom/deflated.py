"""Files of the deflated transfer syntax (PS3.5 A.5), seen as if their dataset had never been deflated."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from shared.byte_units import MIB
from workers.intake.archive import ExpansionBudget, Member
from workers.intake.archive.content import inflate
from workers.intake.archive.members import LARGEST_IN_MEMORY


@dataclass(frozen=True)
class InflatedMember:
    """A file whose dataset begins deflated at `start`. `size_bytes` is that of the expanded form."""

    member: Member
    start: int
    size_bytes: int

    @property
    def ordinal(self) -> int:
        """Number in the report."""
        return self.member.ordinal

    @property
    def name(self) -> str:
        """Name as text, not yet fit to be shown."""
        return self.member.name

    @property
    def crc32(self) -> int:
        """Checksum of the file as it is."""
        return self.member.crc32

    @property
    def fits_memory(self) -> bool:
        """Whether the expanded form is small."""
        return self.size_bytes <= LARGEST_IN_MEMORY

    def read_beginning(self, length: int) -> bytes:
        """Return at most `length` bytes of the expanded form, unchecked."""
        return _join_beginning(self.iterate(ExpansionBudget(2 * self.size_bytes + MIB)), length)

    def read(self, budget: ExpansionBudget) -> bytes:
        """Return the expanded form, checked."""
        return b"".join(self.iterate(budget))

    def iterate(self, budget: ExpansionBudget) -> Iterator[bytes]:
        """Yield the expanded form in pieces of at most 1 MiB; both forms count."""
        pieces = self.member.iterate(budget)
        beginning = next(pieces, b"")
        yield beginning[: self.start]
        for piece in inflate(_chain(beginning[self.start :], pieces)):
            budget.spend(len(piece))
            yield piece


def inflate_member(member: Member, start: int, budget: ExpansionBudget) -> InflatedMember:
    """Return a file with its dataset expanded, after counting how large that is.

    Raises InputProblem beyond the budget.
    """
    size_bytes = sum(len(piece) for piece in InflatedMember(member, start, 0).iterate(budget))
    return InflatedMember(member, start, size_bytes)


def _chain(first: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    yield first
    yield from rest


def _join_beginning(pieces: Iterator[bytes], length: int) -> bytes:
    joined = b""
    for piece in pieces:
        joined += piece
        if len(joined) >= length:
            break
    return joined[:length]
