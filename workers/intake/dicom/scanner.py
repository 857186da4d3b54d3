"""Finds data elements in bytes without building anything (PS3.5 section 7).

Written for headers of hundreds of slices and for hostile files: it walks by lengths, descends into sequences only
where their length is undefined, without recursion, and stops at the pixel data.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass

from workers.intake.dicom.tags import WANTED, Tag
from workers.intake.files import FileCode, FileRejected
from workers.intake.limits import DEEPEST_NESTING, FREE_ELEMENTS, MOST_ELEMENTS, SPARE_ELEMENTS

UNDEFINED = 0xFFFFFFFF
_LONG_REPRESENTATIONS = frozenset(
    (b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV")
)
_SHORT_REPRESENTATIONS = frozenset(
    (b"AE", b"AS", b"AT", b"CS", b"DA", b"DS", b"DT", b"FD", b"FL", b"IS", b"LO", b"LT", b"PN", b"SH", b"SL", b"SS",
     b"ST", b"TM", b"UI", b"UL", b"US")
)  # fmt: skip
REPRESENTATIONS = _LONG_REPRESENTATIONS | _SHORT_REPRESENTATIONS
_ITEM_END = 0xFFFEE00D
_SEQUENCE_END = 0xFFFEE0DD


@dataclass(frozen=True)
class Encoding:
    """How a dataset is written."""

    is_explicit: bool
    is_little: bool

    @property
    def order(self) -> str:
        """Byte order as `struct` names it."""
        return "<" if self.is_little else ">"


_COMMON = Encoding(is_explicit=True, is_little=True)
_WANTED_BYTES = {struct.pack("<HH", tag >> 16, tag & 0xFFFF): tag for tag in WANTED if tag != Tag.PixelData}


class ElementBudget:
    """Counts elements over all files of a study: each takes time, and deflated they cost next to nothing to send."""

    def __init__(self) -> None:
        self._spare = SPARE_ELEMENTS

    @property
    def most(self) -> int:
        """How many the next file may have."""
        return min(MOST_ELEMENTS, FREE_ELEMENTS + self._spare)

    def spend(self, count: int) -> None:
        """Take the elements of a file."""
        self._spare = max(0, self._spare - max(0, count - FREE_ELEMENTS))


class NeedsMore(Exception):
    """The bytes at hand end before the pixel data; the file goes on."""


@dataclass(frozen=True)
class Elements:
    """Where the wanted elements of a dataset lie.

    `pixels_length` is None when the pixel data are encapsulated (undefined length). `has_pixel_words` says that an
    explicit dataset declares them as words (OW) rather than bytes.
    """

    values: Mapping[int, bytes]
    encoding: Encoding
    pixels_offset: int | None
    pixels_length: int | None
    has_pixel_words: bool = False


def scan(
    content: bytes, start: int, encoding: Encoding, *, is_whole: bool, budget: ElementBudget | None = None
) -> Elements:
    """Walk a dataset up to its pixel data.

    Raises NeedsMore when `content` is only the beginning of the file and ends too early, FileRejected when the
    structure cannot be followed or is deeper or longer than any honest file.
    """
    budget = budget or ElementBudget()
    walk = _Walk(content, encoding, budget.most, is_whole=is_whole)
    try:
        return walk.run(start)
    finally:
        budget.spend(walk.count)


class _Walk:
    def __init__(self, content: bytes, encoding: Encoding, most: int, *, is_whole: bool) -> None:
        self._content = content
        self._encoding = encoding
        self._is_whole = is_whole
        self._order = encoding.order
        self._tag = struct.Struct(self._order + "HH")
        self._short = struct.Struct(self._order + "H")
        self._long = struct.Struct(self._order + "L")
        self._values: dict[int, bytes] = {}
        self._most = most
        self._left = most
        self._is_common = encoding == _COMMON
        # Whether the elements at each depth carry their value representation.
        self._explicit = [encoding.is_explicit]

    @property
    def count(self) -> int:
        return self._most - self._left

    def run(self, position: int) -> Elements:
        while self._left > 0:
            if self._is_common and len(self._explicit) == 1:
                position = self._pass_short(position)
            self._left -= 1
            if position + 8 > len(self._content):
                return self._end()
            group, element = self._tag.unpack_from(self._content, position)
            tag = group << 16 | element
            length, value = self._read_length(tag, position)
            is_top = len(self._explicit) == 1
            if tag == Tag.PixelData and is_top:
                return self._found(value, length)
            position = self._step(tag, value, length, position)
            if is_top and tag in WANTED:
                # Of a sequence whose length is not told, only that it is there.
                self._values[tag] = b"" if length == UNDEFINED else self._content[value:position]
        raise _hostile(f"more than {self._most} elements")

    def _pass_short(self, position: int) -> int:
        """Pass elements with a length of two bytes, explicit little endian, and return where others begin.

        Nine of ten elements of a header are such; taking them in one loop halved the time that a header costs.
        """
        content, values = self._content, self._values
        last = len(content) - 8
        for _ in range(self._left):
            if position > last or content[position + 4 : position + 6] not in _SHORT_REPRESENTATIONS:
                break
            value = position + 8
            end = value + (content[position + 6] | content[position + 7] << 8)
            if end > len(content):
                break
            tag = _WANTED_BYTES.get(content[position : position + 4])
            if tag is not None:
                values[tag] = content[value:end]
            position = end
            self._left -= 1
        return position

    def _read_length(self, tag: int, position: int) -> tuple[int, int]:
        """Return the length of an element and where its value begins."""
        content = self._content
        if tag >> 16 != 0xFFFE and self._explicit[-1]:
            representation = content[position + 4 : position + 6]
            if representation in _LONG_REPRESENTATIONS:
                if position + 12 > len(content):
                    self._need(position + 12)
                return self._long.unpack_from(content, position + 8)[0], position + 12
            # Letters that are none: an implicit element strayed into an explicit dataset, as some toolkits write.
            if representation.isalpha() and representation.isupper():
                return self._short.unpack_from(content, position + 6)[0], position + 8
        return self._long.unpack_from(content, position + 4)[0], position + 8

    def _step(self, tag: int, value: int, length: int, position: int) -> int:
        """Return where the next element begins, keeping track of open sequences and items."""
        if tag in {_ITEM_END, _SEQUENCE_END}:
            if len(self._explicit) > 1:
                self._explicit.pop()
            return value
        if length == UNDEFINED:
            if len(self._explicit) > DEEPEST_NESTING:
                raise _hostile(f"sequences nested deeper than {DEEPEST_NESTING}")
            # PS3.5 6.2.2: the content of UN with undefined length is implicit little endian.
            is_unknown = self._explicit[-1] and self._content[position + 4 : position + 6] == b"UN"
            self._explicit.append(self._explicit[-1] and not is_unknown)
            return value
        if value + length > len(self._content):
            self._need(value + length)
        return value + length

    def _need(self, end: int) -> None:
        if self._is_whole:
            raise _hostile(f"an element that ends at byte {end} of {len(self._content)}")
        raise NeedsMore

    def _found(self, value: int, length: int) -> Elements:
        is_encapsulated = length == UNDEFINED
        has_words = self._content[value - 8 : value - 6] == b"OW"
        return Elements(self._values, self._encoding, value, None if is_encapsulated else length, has_words)

    def _end(self) -> Elements:
        if not self._is_whole:
            raise NeedsMore
        return Elements(self._values, self._encoding, None, None)


def _hostile(what: str) -> FileRejected:
    return FileRejected(FileCode.HOSTILE_STRUCTURE, f"the dataset has {what}")
