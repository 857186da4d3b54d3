"""Frames inside encapsulated pixel data (PS3.5 A.4), found by walking its items, without copying any other frame.

Not pydicom's `encaps`: it reads what lies before the wanted frame into memory, and takes no memoryview.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import pairwise

from workers.intake.dicom.syntaxes import Codec
from workers.intake.files import FileCode, FileRejected

_HEADER = struct.Struct("<HHL")
_OFFSET = struct.Struct("<L")
_ITEM_GROUP = 0xFFFE
_ITEM = 0xE000
_SEQUENCE_END = 0xE0DD
_END_OF_IMAGE = b"\xff\xd9"


Place = tuple[int, int]
"""Where the items of a frame begin and end in the value of PixelData."""


def locate_frames(value: bytes | memoryview, frames: int, codec: Codec) -> tuple[Place, ...]:
    """Return the places of the frames, of fewer where fewer are found.

    `value` is that of PixelData, from its offset table on; what follows its end does no harm. An offset table is
    trusted when it has an ascending entry for each frame, else frames are told apart by their fragments. An extended
    offset table needs no reading: its frames have one fragment each. Raises FileRejected.
    """
    view = memoryview(value)
    table = next(_walk(view, 0), None)
    if table is None:
        raise FileRejected(FileCode.PIXELS_TRUNCATED, "the compressed pixels are empty")
    first = _HEADER.size + len(table)
    if frames == 1:
        return ((first, len(view)),)
    if len(table) == frames * _OFFSET.size:
        offsets = [offset for (offset,) in _OFFSET.iter_unpack(table)]
        if offsets[0] == 0 and all(one < two for one, two in pairwise(offsets)):
            return tuple(pairwise((*(first + offset for offset in offsets), len(view))))
    return tuple(_split(view, first, frames, codec))


def extract_frame(
    value: bytes | memoryview, frame: int, frames: int, codec: Codec, places: Sequence[Place] | None = None
) -> bytes:
    """Return the compressed stream of one frame. `places` are those of `locate_frames`. Raises FileRejected."""
    places = locate_frames(value, frames, codec) if places is None else places
    if frame >= len(places):
        raise FileRejected(FileCode.PIXELS_TRUNCATED, f"the compressed pixels hold fewer than {frames} frames")
    start, end = places[frame]
    return _join(list(_walk(memoryview(value)[:end], start)))


def _walk(view: memoryview, position: int) -> Iterator[memoryview]:
    """Yield the content of each item from a position on."""
    while position + _HEADER.size <= len(view):
        group, element, length = _HEADER.unpack_from(view, position)
        if group != _ITEM_GROUP or element not in {_ITEM, _SEQUENCE_END}:
            raise FileRejected(FileCode.UNDECODABLE, "the compressed pixels are not made of items")
        if element == _SEQUENCE_END:
            return
        start = position + _HEADER.size
        position = start + length
        if position > len(view):
            raise FileRejected(FileCode.PIXELS_TRUNCATED, f"{len(view) - start} of {length} bytes of a fragment")
        yield view[start:position]


def _split(view: memoryview, first: int, frames: int, codec: Codec) -> Iterator[Place]:
    """Yield the place of each frame: one fragment each, unless there are more, which end where a stream ends."""
    fragments: list[tuple[int, memoryview]] = []
    end = first
    with suppress(FileRejected):  # damage further on does no harm to the frames before
        for fragment in _walk(view, first):
            end += _HEADER.size + len(fragment)
            fragments.append((end, fragment))
    start = first
    for end, fragment in fragments:
        if len(fragments) == frames or codec is Codec.RLE or _END_OF_IMAGE in bytes(fragment[-4:]):
            yield start, end
            start = end


def _join(fragments: list[memoryview]) -> bytes:
    if not fragments:
        raise FileRejected(FileCode.PIXELS_TRUNCATED, "a frame without compressed pixels")
    return b"".join(fragments)
