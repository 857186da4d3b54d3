"""Writers of pixel data: compressed streams, their items, and the one kind of stream that no library at hand writes."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from tests.workers.intake.images import LAYOUT
from workers.intake.dicom.header import PixelLayout
from workers.intake.dicom.syntaxes import find_syntax

JPEG_BASELINE = "1.2.840.10008.1.2.4.50"
JPEG_EXTENDED = "1.2.840.10008.1.2.4.51"
JPEG_LOSSLESS = "1.2.840.10008.1.2.4.57"
JPEG_LOSSLESS_FIRST = "1.2.840.10008.1.2.4.70"
JPEG_LS = "1.2.840.10008.1.2.4.80"
JPEG_LS_NEAR = "1.2.840.10008.1.2.4.81"
JPEG_2000_LOSSLESS = "1.2.840.10008.1.2.4.90"
JPEG_2000 = "1.2.840.10008.1.2.4.91"
HTJ2K_LOSSLESS = "1.2.840.10008.1.2.4.201"
HTJ2K_PROGRESSIVE = "1.2.840.10008.1.2.4.202"
HTJ2K = "1.2.840.10008.1.2.4.203"
RLE = "1.2.840.10008.1.2.5"

_BITS_OF_A_CODE = 5  # 17 categories, each with a code of five bits

Pixels = npt.NDArray[np.integer]


def describe(values: Pixels, uid: str, *, bits_stored: int, frames: int = 1, **changes: object) -> PixelLayout:
    """Return the layout of a dataset that holds such values in a transfer syntax."""
    rows, columns = values.shape[-2:]
    allocated = 8 if bits_stored <= 8 and values.dtype.itemsize == 1 else 16
    layout = replace(
        LAYOUT,
        syntax=find_syntax(uid),
        rows=rows,
        columns=columns,
        frames=frames,
        bits_allocated=allocated,
        bits_stored=bits_stored,
        high_bit=bits_stored - 1,
        is_signed=values.dtype.kind == "i",
        length=None,
    )
    return replace(layout, **changes)  # type: ignore[arg-type]  # test data


def cut_bits(values: Pixels, bits: int) -> Pixels:
    """Return the bit patterns of signed or unsigned values, as unsigned ones of so many bits."""
    size = 1 if bits <= 8 else 2
    return (values.astype(np.int64) & ((1 << bits) - 1)).astype(f"u{size}")


def make_item(content: bytes) -> bytes:
    """Return one item, padded to even length."""
    padded = content + bytes(len(content) % 2)
    return struct.pack("<HHL", 0xFFFE, 0xE000, len(padded)) + padded


def encapsulate(frames: Sequence[Sequence[bytes]], *, has_table: bool = False, has_end: bool = True) -> bytes:
    """Return the value of PixelData: for each frame its fragments, with or without a basic offset table."""
    items = [b"".join(make_item(fragment) for fragment in fragments) for fragments in frames]
    offsets = np.cumsum([0, *(len(item) for item in items)])[:-1].astype("<u4").tobytes()
    end = struct.pack("<HHL", 0xFFFE, 0xE0DD, 0) if has_end else b""
    return make_item(offsets if has_table else b"") + b"".join(items) + end


def wrap(stream: bytes) -> bytes:
    """Return the value of PixelData of one frame in one fragment."""
    return encapsulate([[stream]])


def encode_rle(values: Pixels) -> bytes:
    """Return an RLE frame of literal runs: one segment for each byte of a pixel, the highest first (PS3.5 annex G)."""
    size = values.dtype.itemsize
    planes = values.astype(f">u{size}").view(np.uint8).reshape(-1, size).T
    segments = [_pack_literally(plane.tobytes()) for plane in planes]
    starts = [64 + sum(map(len, segments[:index])) for index in range(size)]
    return struct.pack("<16L", size, *starts, *[0] * (15 - size)) + b"".join(segments)


def _pack_literally(plane: bytes) -> bytes:
    runs = (plane[at : at + 128] for at in range(0, len(plane), 128))
    packed = b"".join(bytes([len(run) - 1]) + run for run in runs)
    return packed + bytes(len(packed) % 2)


def encode_jpeg_lossless(
    values: Pixels, *, precision: int, predictor: int, rows_between_restarts: int = 0, dropped_bits: int = 0
) -> bytes:
    """Return a lossless JPEG of unsigned values (ISO/IEC 10918-1 annex H), which may restart and drop low bits."""
    rows, columns = values.shape
    codes = bytes([0] * (_BITS_OF_A_CODE - 1) + [17] + [0] * (16 - _BITS_OF_A_CODE))
    segments = [
        (0xC3, struct.pack(">BHHB3B", precision, rows, columns, 1, 1, 0x11, 0)),
        (0xC4, b"\0" + codes + bytes(range(17))),
        (0xDD, struct.pack(">H", rows_between_restarts * columns)),
        (0xDA, bytes([1, 1, 0, predictor, 0, dropped_bits])),
    ]
    head = b"".join(bytes([0xFF, marker]) + struct.pack(">H", len(body) + 2) + body for marker, body in segments)
    step = rows_between_restarts or rows
    scans = [
        _encode_rows(values[row : row + step].astype(int) >> dropped_bits, precision - dropped_bits, predictor)
        for row in range(0, rows, step)
    ]
    body = b"".join(scan + bytes([0xFF, 0xD0 + index % 8]) for index, scan in enumerate(scans))[:-2]
    return b"\xff\xd8" + head + body + b"\xff\xd9"


def _encode_rows(values: npt.NDArray[np.int64], precision: int, predictor: int) -> bytes:
    bits = []
    for row, column in np.ndindex(*values.shape):
        prediction = _predict(values, row, column, predictor, 1 << (precision - 1))
        difference = (int(values[row, column]) - prediction + 32768) % 65536 - 32768
        category = 16 if difference == -32768 else abs(difference).bit_length()
        bits.append(f"{category:0{_BITS_OF_A_CODE}b}")
        if 0 < category < 16:
            bits.append(f"{difference if difference > 0 else difference + (1 << category) - 1:0{category}b}")
    text = "".join(bits)
    text += "1" * (-len(text) % 8)
    return int(text, 2).to_bytes(len(text) // 8, "big").replace(b"\xff", b"\xff\0")


def _predict(values: npt.NDArray[np.int64], row: int, column: int, predictor: int, middle: int) -> int:
    if row == column == 0:
        return middle
    if row == 0:
        return int(values[row, column - 1])
    above = int(values[row - 1, column])
    if column == 0:
        return above
    left, corner = int(values[row, column - 1]), int(values[row - 1, column - 1])
    rules = (
        left,
        above,
        corner,
        left + above - corner,
        left + ((above - corner) >> 1),
        above + ((left - corner) >> 1),
        (left + above) >> 1,
    )
    return rules[predictor - 1]
