"""What compressed streams say of themselves, read before anything is allocated for them.

JPEG and JPEG-LS: ISO/IEC 10918-1 B.2.2 and 14495-1 C.2.2; JPEG 2000: ISO/IEC 15444-1 A.5.1 and annex I.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from workers.intake.files import FileCode, FileRejected

_JPEG_START = b"\xff\xd8"
_FRAME_MARKERS = frozenset({0xC0, 0xC1, 0xC2, 0xC3, 0xF7})
_SCAN = 0xDA
_MOST_SEGMENTS = 1000
_FRAME = struct.Struct(">BHHB")

_BOXES_START = b"\x00\x00\x00\x0cjP  "
_CODESTREAM_BOX = b"jp2c"
_CODESTREAM_START = b"\xff\x4f\xff\x51"
_MOST_BOXES = 100
_SIZE = struct.Struct(">HH8LH3B")  # length, capabilities, sizes and offsets, components; precision, steps of the first
_MOST_TILES = 4096


@dataclass(frozen=True)
class StreamHeader:
    """Size, samples per pixel, bits per sample and sign of a stream."""

    rows: int
    columns: int
    components: int
    precision: int
    is_signed: bool = False


def read_jpeg_header(stream: bytes) -> StreamHeader:
    """Return the header of a JPEG or JPEG-LS stream. Raises FileRejected."""
    if stream[:2] != _JPEG_START:
        raise _undecodable("it does not begin as one")
    position = 2
    for _ in range(_MOST_SEGMENTS):
        if position + 4 > len(stream) or stream[position] != 0xFF or stream[position + 1] == _SCAN:
            break
        marker = stream[position + 1]
        if marker == 0xFF:  # fill
            position += 1
            continue
        if marker in _FRAME_MARKERS:
            return _read_frame(stream, position + 4)
        position += 2 + int.from_bytes(stream[position + 2 : position + 4], "big")
    raise _undecodable("it does not tell its size")


def _read_frame(stream: bytes, position: int) -> StreamHeader:
    if position + _FRAME.size > len(stream):
        raise _undecodable("it ends in its header")
    precision, rows, columns, components = _FRAME.unpack_from(stream, position)
    return StreamHeader(rows, columns, components, precision)


def find_codestream(stream: bytes) -> bytes:
    """Return the JPEG 2000 codestream, also out of the boxes of a JP2 file, which some write. Raises FileRejected."""
    position = 0
    if stream[:8] == _BOXES_START:
        for _ in range(_MOST_BOXES):
            length, kind = (
                int.from_bytes(stream[position : position + 4], "big"),
                stream[position + 4 : position + 8],
            )
            if kind == _CODESTREAM_BOX:
                position += 16 if length == 1 else 8
                break
            position += max(length, 8)
    if stream[position : position + 4] != _CODESTREAM_START:
        raise _undecodable("it does not begin as one")
    return stream[position:]


def read_jpeg_2000_header(codestream: bytes) -> StreamHeader:
    """Return the header of a JPEG 2000 codestream. Raises FileRejected."""
    if len(codestream) < len(_CODESTREAM_START) + _SIZE.size:
        raise _undecodable("it ends in its header")
    _, _, *sizes, components, depth, step_x, step_y = _SIZE.unpack_from(codestream, len(_CODESTREAM_START))
    right, bottom, left, top, tile_width, tile_height, _, _ = sizes
    if right <= left or bottom <= top or not tile_width or not tile_height or (step_x, step_y) != (1, 1):
        raise _undecodable("its grid is not that of a plain image")
    # The decoder keeps some 6 KB for each tile, however small.
    if -(-right // tile_width) * -(-bottom // tile_height) > _MOST_TILES:
        raise _undecodable(f"it has more than {_MOST_TILES} tiles")
    return StreamHeader(bottom - top, right - left, components, (depth & 0x7F) + 1, is_signed=depth > 0x7F)


def _undecodable(why: str) -> FileRejected:
    return FileRejected(FileCode.UNDECODABLE, f"the compressed stream cannot be read: {why}")
