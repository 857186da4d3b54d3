"""Mends the geometry of a decoded stack: even spacing along the normal, and the shear of a tilted gantry."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from workers.intake.stacks.geometry import StackGeometry

Hu = npt.NDArray[np.int16]


def count_even_slices(geometry: StackGeometry) -> int:
    """Return how many slices a stack has once they lie at even heights."""
    if geometry.is_uniform and not geometry.gaps:
        return len(geometry.heights_mm)
    return round((geometry.heights_mm[-1] - geometry.heights_mm[0]) / geometry.spacing_mm) + 1


def resample_heights(hu: Hu, geometry: StackGeometry) -> Hu:
    """Return slices at even heights, interpolated linearly between the two neighbours; (z, y, x) int16."""
    heights = np.asarray(geometry.heights_mm)
    count = count_even_slices(geometry)
    wanted = heights[0] + np.arange(count) * geometry.spacing_mm
    places = np.interp(wanted, heights, np.arange(len(heights)))
    even = np.empty((count, *hu.shape[1:]), dtype=np.int16)
    for index, place in enumerate(places):
        even[index] = _interpolate(hu, float(place))
    return even


def _interpolate(hu: Hu, place: float) -> Hu:
    below = int(place)
    share = place - below
    if share < 1e-6 or below + 1 == len(hu):
        return np.asarray(hu[below])
    mixed = hu[below].astype(np.float32) * (1 - share) + hu[below + 1].astype(np.float32) * share
    return np.asarray(np.rint(mixed), dtype=np.int16)


def shear_back(hu: Hu, geometry: StackGeometry, spacing_yx_mm: tuple[float, float]) -> None:
    """Shift each slice in its plane, in place, so that the corners of all lie on one line along the normal."""
    row_drift, column_drift = geometry.drift
    for index, height in enumerate(geometry.heights_mm):
        rise = height - geometry.heights_mm[0]
        shift = (column_drift * rise / spacing_yx_mm[0], row_drift * rise / spacing_yx_mm[1])
        if max(abs(shift[0]), abs(shift[1])) > 1e-3:
            air = int(hu[index].min())
            shifted = ndimage.shift(hu[index].astype(np.float32), shift, order=1, mode="constant", cval=air)
            np.rint(shifted, out=shifted)
            hu[index] = shifted
