"""Frames inside encapsulated pixel data (PS3.5 A.4), found by walking its items, without copying any other frame.

Not pydicom's `encaps`: it reads what lies before the wanted frame into memory, and takes no memoryview.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from workers.intake.dicom.syntaxes import Codec
from workers.intake.files import FileCode, FileRejected

_HEADER = struct.Struct("<HHL")
_OFFSET = struct.Struct("<L")
_ITEM_GROUP = 0xFFFE
_ITEM = 0xE000
_SEQUENCE_END = 0xE0DD
_END_OF_IMAGE = b"\xff\xd9"


def extract_frame(value: bytes | memoryview, frame: int, frames: int, codec: Codec) -> bytes:
    """Return the compressed stream of one frame.

    `value` is that of PixelData, from its offset table on; what follows its end does no harm. An offset table is
    trusted when it has an entry for each frame, else frames are told apart by their fragments. An extended offset
    table needs no reading: its frames have one fragment each. Raises FileRejected.
    """
    view = memoryview(value)
    table = next(_walk(view, 0), None)
    if table is None:
        raise FileRejected(FileCode.PIXELS_TRUNCATED, "the compressed pixels are empty")
    first = _HEADER.size + len(table)
    if frames > 1 and len(table) == frames * _OFFSET.size:
        return _join(_walk_frame(view, first, table, frame))
    if frames == 1:
        return _join(list(_walk(view, first)))
    for number, fragments in enumerate(_split(view, first, frames, codec)):
        if number == frame:
            return _join(fragments)
    raise FileRejected(FileCode.PIXELS_TRUNCATED, f"the compressed pixels hold fewer than {frames} frames")


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


def _walk_frame(view: memoryview, first: int, table: memoryview, frame: int) -> list[memoryview]:
    """Return the fragments from the offset of a frame up to that of the next."""
    (start,) = _OFFSET.unpack_from(table, frame * _OFFSET.size)
    if (frame + 1) * _OFFSET.size == len(table):
        return list(_walk(view, first + start))
    (end,) = _OFFSET.unpack_from(table, (frame + 1) * _OFFSET.size)
    return list(_walk(view[: first + end], first + start))


def _split(view: memoryview, first: int, frames: int, codec: Codec) -> Iterator[list[memoryview]]:
    """Yield the fragments of each frame: one each, unless there are more, which end where a stream ends."""
    fragments = list(_walk(view, first))
    if len(fragments) == frames or codec is Codec.RLE:
        yield from ([fragment] for fragment in fragments)
        return
    pending = []
    for fragment in fragments:
        pending.append(fragment)
        if _END_OF_IMAGE in bytes(fragment[-4:]):
            yield pending
            pending = []


def _join(fragments: list[memoryview]) -> bytes:
    if not fragments:
        raise FileRejected(FileCode.PIXELS_TRUNCATED, "a frame without compressed pixels")
    return b"".join(fragments)
