"""Mends the geometry of a decoded stack: even spacing along the normal, and the shear of a tilted gantry."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from workers.intake.dicom.header import Placement, Vector
from workers.intake.stacks.geometry import StackGeometry

Hu = npt.NDArray[np.int16]
_Plane = npt.NDArray[np.float32]

_AIR_HU = -1000
_MATTER_HU = -700
_SMALLEST_SHIFT_PIXELS = 1e-3


def mend(hu: Hu, geometry: StackGeometry, first: Placement) -> tuple[Hu, Vector]:
    """Return slices that lie straight above each other at even heights, (z, y, x) int16, and the first one's position.

    `hu` may be changed in place. `first` is the placement of its first slice. Rows and columns are added where matter
    would leave the image otherwise: a tilted gantry scans along the table, while its slices look up or down.
    """
    position = first.position_mm
    if geometry.is_tilted:
        hu, added = shear_back(hu, geometry, first.spacing_yx_mm)
        position = _move(first, added)
    if geometry.gaps or not geometry.is_uniform:
        hu = resample_heights(hu, geometry)
    return hu, position


def needs_mending(geometry: StackGeometry) -> bool:
    """Return whether slices are not where those of a volume lie, so that `mend` makes others of them."""
    return geometry.is_tilted or bool(geometry.gaps) or not geometry.is_uniform


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


@dataclass(frozen=True)
class Added:
    """How many rows and columns were put before and after those of an image."""

    rows_before: int
    rows_after: int
    columns_before: int
    columns_after: int


def shear_back(hu: Hu, geometry: StackGeometry, spacing_yx_mm: tuple[float, float]) -> tuple[Hu, Added]:
    """Shift each slice in its plane, so that the corners of all lie on one line along the normal.

    What was never scanned becomes air, or padding where there is any. The first slice stays where it is.
    """
    rises = np.asarray(geometry.heights_mm) - geometry.heights_mm[0]
    row_drift, column_drift = geometry.drift
    shifts = np.stack([column_drift * rises / spacing_yx_mm[0], row_drift * rises / spacing_yx_mm[1]], axis=1)
    added = _plan_growth(hu, shifts)
    fill = min(_AIR_HU, int(hu.min()))
    rows = hu.shape[1] + added.rows_before + added.rows_after
    columns = hu.shape[2] + added.columns_before + added.columns_after
    straight = hu if (rows, columns) == hu.shape[1:] else np.empty((len(hu), rows, columns), dtype=np.int16)
    for plane, out, (down, right) in zip(hu, straight, shifts, strict=True):
        moved = _shift_rows(plane.astype(np.float32), added.rows_before + down, rows, fill)
        out[:] = np.rint(_shift_rows(moved.T, added.columns_before + right, columns, fill).T)
    return straight, added


def _shift_rows(plane: _Plane, shift: float, rows: int, fill: int) -> _Plane:
    """Return a plane of so many rows in which row r holds what was at r - shift, interpolated linearly."""
    whole = math.floor(shift + _SMALLEST_SHIFT_PIXELS)
    share = max(0.0, shift - whole)
    placed = _place_rows(plane, whole, rows, fill)
    if share < _SMALLEST_SHIFT_PIXELS:
        return placed
    placed *= 1 - share
    placed += share * _place_rows(plane, whole + 1, rows, fill)
    return placed


def _place_rows(plane: _Plane, start: int, rows: int, fill: int) -> _Plane:
    placed = np.full((rows, plane.shape[1]), fill, dtype=np.float32)
    first, last = max(0, start), min(rows, start + len(plane))
    if first < last:
        placed[first:last] = plane[first - start : last - start]
    return placed


def _plan_growth(hu: Hu, shifts: npt.NDArray[np.float64]) -> Added:
    before, after = np.zeros(2), np.zeros(2)
    sides = np.asarray(hu.shape[1:])
    for plane, shift in zip(hu, shifts, strict=True):
        matter = plane > _MATTER_HU
        for axis in (0, 1):
            (lines,) = np.nonzero(matter.any(axis=1 - axis))
            if len(lines):
                before[axis] = max(before[axis], -(lines[0] + shift[axis]))
                after[axis] = max(after[axis], lines[-1] + shift[axis] - (sides[axis] - 1))
    counts = np.ceil(np.stack([before, after], axis=1) - _SMALLEST_SHIFT_PIXELS).astype(int)
    return Added(*(max(0, int(count)) for count in counts.ravel()))


def _move(first: Placement, added: Added) -> Vector:
    """Return the position of the first pixel once rows and columns were put before it."""
    spacing_y, spacing_x = first.spacing_yx_mm
    down, right = added.rows_before * spacing_y, added.columns_before * spacing_x
    x, y, z = (
        position - down * column - right * row
        for position, row, column in zip(first.position_mm, first.row_direction, first.column_direction, strict=True)
    )
    return (x, y, z)
