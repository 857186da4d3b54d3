"""How a file is divided into parts. Pure.

A part is what a cut connection costs at most, and an object and a row of its own: a hundredth of the file is little to
send again, and a hundred of them are few to keep.
"""

from __future__ import annotations

from dataclasses import dataclass

from shared.byte_units import MIB

MOST_PARTS = 100
SMALLEST_PART_BYTES = MIB // 4


@dataclass(frozen=True)
class Division:
    """A file of `size_bytes` in parts that are numbered from 1; all but the last have `part_size_bytes`."""

    size_bytes: int
    part_size_bytes: int

    @property
    def parts(self) -> int:
        """How many parts there are."""
        return -(-self.size_bytes // self.part_size_bytes)

    def measure(self, number: int) -> int:
        """Return how many bytes a part has."""
        return min(self.part_size_bytes, self.size_bytes - (number - 1) * self.part_size_bytes)


def divide(size_bytes: int) -> Division:
    """Return the parts that a file is to come in: a hundred at most, in whole multiples of the smallest."""
    multiples = -(-size_bytes // (MOST_PARTS * SMALLEST_PART_BYTES))
    return Division(size_bytes, multiples * SMALLEST_PART_BYTES)
