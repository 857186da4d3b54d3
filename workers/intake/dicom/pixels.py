"""From stored bytes to HU, one frame at a time: HU = slope * stored + intercept, rounded, int16.

Threads may call these side by side: the heavy parts let go of the interpreter.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from workers.intake.dicom.decoders import Decoded, decode_stream
from workers.intake.dicom.encapsulation import Place, extract_frame
from workers.intake.dicom.header import PixelLayout, Placement
from workers.intake.files import FileCode, FileRejected

LOWEST_HU = -32768
HIGHEST_HU = 32767

Stored = npt.NDArray[np.integer[Any]]


@dataclass(frozen=True)
class SliceCounts:
    """What a slice holds: padding voxels, and voxels that int16 could not hold."""

    padding: int
    clipped: int


def decode_frame(
    layout: PixelLayout, value: bytes | memoryview, frame: int, places: Sequence[Place] | None = None
) -> Stored:
    """Return the stored values of one frame, (rows, columns), out of the value of PixelData.

    `places` tells where compressed frames lie, where that is known already. Raises FileRejected.
    """
    codec = layout.syntax.codec
    if codec is None:
        return _select_stored_bits(Decoded(_read_native(layout, value, frame), layout.bits_allocated, False), layout)
    stream = extract_frame(value, frame, layout.frames, codec, places)
    decoded = decode_stream(
        codec, stream, rows=layout.rows, columns=layout.columns, bits_allocated=layout.bits_allocated
    )
    return _select_stored_bits(decoded, layout)


def _read_native(layout: PixelLayout, value: bytes | memoryview, frame: int) -> Stored:
    order = "<" if layout.syntax.encoding.is_little else ">"
    count, start = layout.rows * layout.columns, frame * layout.frame_bytes
    # Words that hold two pixels of 8 bits are whole, also where the pixels are not.
    needed = start + layout.frame_bytes + (layout.frame_bytes % 2 if layout.is_word_swapped else 0)
    if len(value) < needed:
        raise FileRejected(FileCode.PIXELS_TRUNCATED, f"{len(value)} of {needed} bytes of pixels")
    if layout.is_word_swapped:
        swapped = np.frombuffer(value, dtype="u2", count=(needed - start) // 2, offset=start).byteswap()
        stored: Stored = swapped.view(np.uint8)[:count]
    else:
        stored = np.frombuffer(value, dtype=f"{order}u{layout.bits_allocated // 8}", count=count, offset=start)
    return stored.reshape(layout.rows, layout.columns)


def _select_stored_bits(decoded: Decoded, layout: PixelLayout) -> Stored:
    """Remove what lies above and below the stored bits (overlays in old files), and apply the dataset's sign.

    A stream's own sign only tells how its bits were extended: the dataset says what they mean (PS3.5 8.2.4).
    """
    size = layout.bits_allocated // 8
    cells: Stored = decoded.cells.astype(f"={decoded.cells.dtype.kind}{size}", copy=False)
    bits_stored = layout.bits_stored
    if layout.syntax.is_lossy and layout.high_bit == bits_stored - 1:
        # Loss may carry values beyond the stored bits, where they must not wrap around. Overlays do not survive it.
        bits_stored = max(bits_stored, decoded.precision)
    unused = layout.bits_allocated - bits_stored
    # Compressed values are right-aligned, unless the stream is as wide as the cells that it was made of.
    is_high = bits_stored <= layout.high_bit < decoded.precision
    above = layout.bits_allocated - 1 - layout.high_bit if is_high else unused
    if layout.is_signed:
        signed: Stored = cells.view(f"i{size}")
        if unused == 0:
            return signed
        signed = np.left_shift(signed, above)
        return np.right_shift(signed, unused, out=signed)
    unsigned: Stored = cells.view(f"u{size}")
    if unused == 0 or (decoded.precision <= bits_stored and not decoded.is_signed):
        return unsigned
    below = unused - above
    shifted = np.right_shift(unsigned, below) if below else unsigned
    return np.bitwise_and(shifted, shifted.dtype.type((1 << bits_stored) - 1))


def convert_to_hu(stored: Stored, placement: Placement, out: npt.NDArray[np.int16]) -> SliceCounts:
    """Write the HU of one slice into `out`, (rows, columns) int16. Padding keeps its arithmetic value."""
    padding = _count_padding(stored, placement)
    intercept = int(placement.intercept)
    if placement.slope == 1 and placement.intercept == intercept:
        return SliceCounts(padding, _add_intercept(stored, intercept, out))
    return SliceCounts(padding, _rescale(stored, placement, out))


def _count_padding(stored: Stored, placement: Placement) -> int:
    if placement.padding is None:
        return 0
    lowest, highest = placement.padding
    if lowest == highest:
        return int(np.count_nonzero(stored == lowest))
    return int(np.count_nonzero((stored >= lowest) & (stored <= highest)))


def _add_intercept(stored: Stored, intercept: int, out: npt.NDArray[np.int16]) -> int:
    """Add in int16 where the range allows it, which nearly every scanner's does. Returns the voxels clipped."""
    lowest, highest = int(stored.min()) + intercept, int(stored.max()) + intercept
    if lowest >= LOWEST_HU and highest <= HIGHEST_HU and LOWEST_HU <= intercept <= HIGHEST_HU:
        # Wraps around in between for uint16 above 32767, and back: the sum is right modulo 65536 and fits.
        narrow = stored.view(np.int16) if stored.dtype.itemsize == 2 else stored
        np.add(narrow, np.int16(intercept), out=out)
        return 0
    hu = stored.astype(np.int64) + intercept
    np.clip(hu, LOWEST_HU, HIGHEST_HU, out=out, casting="unsafe")
    return int(np.count_nonzero((hu < LOWEST_HU) | (hu > HIGHEST_HU)))


def _rescale(stored: Stored, placement: Placement, out: npt.NDArray[np.int16]) -> int:
    """Rescale in float64, in place. Returns the voxels clipped."""
    hu = np.multiply(stored, placement.slope, dtype=np.float64)
    hu += placement.intercept
    np.rint(hu, out=hu)
    clipped = 0
    if hu.min() < LOWEST_HU or hu.max() > HIGHEST_HU:
        clipped = int(np.count_nonzero((hu < LOWEST_HU) | (hu > HIGHEST_HU)))
        np.clip(hu, LOWEST_HU, HIGHEST_HU, out=hu)
    np.copyto(out, hu, casting="unsafe")
    return clipped
