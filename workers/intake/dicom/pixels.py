"""From stored bytes to HU, one frame at a time: HU = slope * stored + intercept, rounded, int16."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom.pixels.decoders.base import get_decoder

from workers.intake.dicom.header import PixelLayout, Placement
from workers.intake.dicom.tolerance import tolerant_pydicom
from workers.intake.files import FileCode, FileRejected

LOWEST_HU = -32768
HIGHEST_HU = 32767

Stored = npt.NDArray[np.integer[Any]]


@dataclass(frozen=True)
class SliceCounts:
    """What a slice holds: padding voxels, and voxels that int16 could not hold."""

    padding: int
    clipped: int


def decode_frame(layout: PixelLayout, value: bytes, frame: int) -> Stored:
    """Return the stored values of one frame, (rows, columns). Raises FileRejected."""
    if layout.syntax.is_native:
        return _correct_unused_bits(_read_native(layout, value, frame), layout)
    with tolerant_pydicom(f"{layout.syntax.name} pixels cannot be decoded", FileCode.UNDECODABLE):
        stored, _ = get_decoder(layout.syntax.uid).as_array(
            value, index=frame, raw=True, decoding_plugin=layout.syntax.plugin or "", **_describe(layout)
        )
    if stored.shape != (layout.rows, layout.columns):
        raise FileRejected(FileCode.UNDECODABLE, f"the pixels decode to {stored.shape}")
    return stored


def _describe(layout: PixelLayout) -> Any:  # noqa: ANN401  # pydicom types its options wrongly
    return {
        "rows": layout.rows,
        "columns": layout.columns,
        "number_of_frames": layout.frames,
        "samples_per_pixel": 1,
        "bits_allocated": layout.bits_allocated,
        "bits_stored": layout.bits_stored,
        "pixel_representation": int(layout.is_signed),
        # For display only: MONOCHROME1 carries its rescale like MONOCHROME2.
        "photometric_interpretation": layout.photometric,
        "pixel_keyword": "PixelData",
    }


def _read_native(layout: PixelLayout, value: bytes, frame: int) -> Stored:
    order = "<" if layout.syntax.encoding.is_little else ">"
    kind = f"{order}{'i' if layout.is_signed else 'u'}{layout.bits_allocated // 8}"
    count = layout.rows * layout.columns
    stored: Stored = np.frombuffer(value, dtype=kind, count=count, offset=frame * layout.frame_bytes)
    return stored.reshape(layout.rows, layout.columns)


def _correct_unused_bits(stored: Stored, layout: PixelLayout) -> Stored:
    """Remove what lies above and below the stored bits (overlays in old files) and extend the sign."""
    above = layout.bits_allocated - 1 - layout.high_bit
    unused = layout.bits_allocated - layout.bits_stored
    if unused == 0 or above < 0:
        return stored
    native = stored.astype(stored.dtype.newbyteorder("="))
    np.left_shift(native, above, out=native)
    np.right_shift(native, unused, out=native)
    return native


def convert_to_hu(stored: Stored, placement: Placement, out: npt.NDArray[np.int16]) -> SliceCounts:
    """Write the HU of one slice into `out`, (rows, columns) int16. Padding keeps its arithmetic value."""
    padding = 0 if placement.padding is None else int(np.count_nonzero(stored == placement.padding))
    if placement.slope == 1 and placement.intercept == int(placement.intercept):
        return SliceCounts(padding, _add_intercept(stored, int(placement.intercept), out))
    hu = np.rint(stored.astype(np.float64) * placement.slope + placement.intercept)
    clipped = int(np.count_nonzero((hu < LOWEST_HU) | (hu > HIGHEST_HU)))
    out[...] = np.clip(hu, LOWEST_HU, HIGHEST_HU)
    return SliceCounts(padding, clipped)


def _add_intercept(stored: Stored, intercept: int, out: npt.NDArray[np.int16]) -> int:
    """Add in int16 where the range allows it, which nearly every scanner's does. Returns the voxels clipped."""
    lowest, highest = int(stored.min()) + intercept, int(stored.max()) + intercept
    if lowest >= LOWEST_HU and highest <= HIGHEST_HU and LOWEST_HU <= intercept <= HIGHEST_HU:
        # Wraps around in between for uint16 above 32767, and back: the sum is right modulo 65536 and fits.
        np.add(stored.astype(np.int16, copy=False), np.int16(intercept), out=out)
        return 0
    hu = stored.astype(np.int64) + intercept
    np.clip(hu, LOWEST_HU, HIGHEST_HU, out=out, casting="unsafe")
    return int(np.count_nonzero((hu < LOWEST_HU) | (hu > HIGHEST_HU)))
