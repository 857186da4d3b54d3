"""Values of data elements, tolerantly: what cannot be read is None, and the reader of the header decides."""

from __future__ import annotations

import math
import struct
from functools import lru_cache

from workers.intake.dicom.scanner import Elements
from workers.intake.dicom.tags import Tag

_LONGEST_TEXT = 4096
_LONGEST_VALUE = 64


class Attributes:
    """Typed access to the elements of one dataset."""

    def __init__(self, elements: Elements) -> None:
        self._values = elements.values
        self._order = elements.encoding.order

    def __contains__(self, tag: Tag) -> bool:
        return tag in self._values

    def texts(self, tag: Tag) -> tuple[str, ...] | None:
        """Return the values of a text attribute (CS, LO, SH, UI, DS, IS), or None when it is absent."""
        raw = self._values.get(tag)
        return None if raw is None else _split_text(raw[:_LONGEST_TEXT])

    def text(self, tag: Tag) -> str:
        """Return the first value of a text attribute; empty when it is absent."""
        texts = self.texts(tag)
        return texts[0] if texts else ""

    def numbers(self, tag: Tag) -> tuple[float, ...] | None:
        """Return the values of a decimal string, or None when it is absent, empty or no number."""
        texts = self.texts(tag)
        if not texts or texts == ("",):
            return None
        try:
            return tuple(float(text) for text in texts)
        except ValueError:
            return None

    def number(self, tag: Tag) -> float | None:
        """Return the first value of a decimal string, or None; it may be infinite or NaN."""
        numbers = self.numbers(tag)
        return numbers[0] if numbers else None

    def length(self, tag: Tag) -> float | None:
        """Return a finite number above 0, or None."""
        number = self.number(tag)
        return number if number is not None and math.isfinite(number) and number > 0 else None

    def whole(self, tag: Tag) -> int | None:
        """Return the first value of an integer string, or None."""
        try:
            return int(self.text(tag))
        except ValueError:
            return None

    def short(self, tag: Tag, *, is_signed: bool = False) -> int | None:
        """Return the first value of a 16-bit attribute (US, or SS where signed), or None."""
        raw = self._values.get(tag, b"")
        if len(raw) < 2:
            return None
        return int(struct.unpack_from(self._order + ("h" if is_signed else "H"), raw)[0])


@lru_cache(maxsize=4096)  # most values are the same in all slices of a series
def _split_text(raw: bytes) -> tuple[str, ...]:
    return tuple(clean_text(part) for part in raw.decode("latin-1").rstrip("\x00 ").split("\\"))


def clean_text(value: str) -> str:
    """Return a value that can be stored and shown anywhere: cut to 64 characters (PS3.5 6.2), without controls."""
    short = value.strip(" \x00")[:_LONGEST_VALUE]
    return short if short.isprintable() else "".join(char if char.isprintable() else "?" for char in short)
