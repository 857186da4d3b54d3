"""A picture of a volume, by which a person sees at a glance what was read. Pure: arrays in, PNG out; no patient in it.

Every plane stands as a radiologist expects it, however the series was stored: seen from the feet, the patient's right
on the left of the picture, head up. Letters name the left and the upper side, numbers the index z of a stored slice.
Padding lies below every window, so it is black and moves nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import imagecodecs
import numpy as np
import numpy.typing as npt

from workers.intake.lettering import Picture, paint_index, paint_sides
from workers.volume.geometry import Triple
from workers.volume.pose import find_pose

Plane = npt.NDArray[np.int16]
Reals = npt.NDArray[np.floating[Any]]

_WIDTH_PX = 1000
_PLANES_A_ROW = 4
_WIDE_A_ROW = 3
_AXIAL_PLANES = 8
_SPARSE_PLANES = 12

# Of a chest CT, the first and the last tenth of the slices show neck and belly.
_MARGIN_SHARE = 0.1

# Lung, breathed in or out. Air around the patient is darker, fat is brighter.
_LUNG_HU = (-930, -600)
_COARSE_STEP = 16
_LUNG_SHARE = 0.4

# 64 greys are as many as an eye tells apart here, and take half the bytes of 256.
_GREY_STEP = 4

# Runs of equal bytes after subtracting the left neighbour: a tenth smaller than the usual way, in half the time.
_PNG_STRATEGY = imagecodecs.PNG.STRATEGY.RLE
_PNG_FILTER = imagecodecs.PNG.FILTER.SUB


@dataclass(frozen=True)
class _Window:
    """Which HU are shown, from black to white."""

    centre_hu: float
    width_hu: float

    def apply(self, plane: Reals) -> Picture:
        """Return HU as greys."""
        share = (plane - (self.centre_hu - self.width_hu / 2)) / self.width_hu
        steps: Picture = np.rint(np.clip(share, 0.0, 1.0) * (255 // _GREY_STEP)).astype(np.uint8)
        return steps * np.uint8(_GREY_STEP)


@dataclass(frozen=True)
class _View:
    """A direction to look from, on a volume whose axes run to head, back and left. `axis` is cut across."""

    axis: int
    left: str
    top: str

    def cut(self, volume: npt.NDArray[np.int16], index: int) -> Plane:
        """Return the plane at an index, upright."""
        plane: Plane = volume[(slice(None),) * self.axis + (index,)]
        return plane[::-1] if self.top == "H" else plane

    def cut_spacing(self, spacing_mm: Triple) -> tuple[float, float]:
        """Return the spacing down and across the plane."""
        down_mm, across_mm = (spacing for axis, spacing in enumerate(spacing_mm) if axis != self.axis)
        return down_mm, across_mm


_LUNG = _Window(-600, 1500)
_MEDIASTINUM = _Window(40, 400)
_AXIAL = _View(0, left="R", top="A")
_CORONAL = _View(1, left="R", top="H")
_SAGITTAL = _View(2, left="A", top="H")
_VIEWS = (_AXIAL, _CORONAL, _SAGITTAL)


@dataclass(frozen=True)
class _Focus:
    """Where the lungs are: slices `first` to `last`, and the row and the column that show most of them."""

    first: int
    last: int
    row: int
    column: int


def render_preview(
    hu: npt.NDArray[np.int16],
    spacing_zyx_mm: Triple,
    *,
    row_direction: Triple = (1.0, 0.0, 0.0),
    column_direction: Triple = (0.0, 1.0, 0.0),
) -> bytes:
    """Return a PNG: axial planes over the lungs, a coronal and a sagittal one, and one in the mediastinal window.

    `hu` is (z, y, x); the directions are LPS, as in `Geometry`.
    """
    pose = find_pose(row_direction, column_direction)
    volume, spacing = pose.turn(hu), pose.turn_spacing(spacing_zyx_mm)
    focus = _find_focus(volume)
    narrow, wide = _WIDTH_PX // _PLANES_A_ROW, _WIDTH_PX // _WIDE_A_ROW
    axial = []
    for z in _spread(focus.first, focus.last + 1, _AXIAL_PLANES):
        picture = _draw(volume, _AXIAL, z, spacing_mm=spacing, side_px=narrow)
        _number(picture, pose.find_stored_slice(z, len(volume)))
        axial.append(picture)
    middle = (focus.first + focus.last) // 2
    others = [
        _draw(volume, _CORONAL, focus.row, spacing_mm=spacing, side_px=wide),
        _draw(volume, _SAGITTAL, focus.column, spacing_mm=spacing, side_px=wide),
        _draw(volume, _AXIAL, middle, spacing_mm=spacing, side_px=wide, window=_MEDIASTINUM),
    ]
    return _encode([*_group(axial, _PLANES_A_ROW), others])


def render_planes(
    planes: Mapping[int, Plane],
    spacing_yx_mm: tuple[float, float],
    *,
    row_direction: Triple = (1.0, 0.0, 0.0),
    column_direction: Triple = (0.0, 1.0, 0.0),
) -> bytes:
    """Return a PNG of single slices, (rows, columns) each, by index z. No more than these need be decoded."""
    pose = find_pose(row_direction, column_direction)
    spacing = pose.turn_spacing((1.0, *spacing_yx_mm))
    view = _VIEWS[pose.axes.index(0)]
    pictures = []
    for index in sorted(planes):
        turned = pose.turn(planes[index][np.newaxis])
        picture = _draw(turned, view, 0, spacing_mm=spacing, side_px=_WIDTH_PX // _PLANES_A_ROW)
        _number(picture, index)
        pictures.append(picture)
    return _encode(_group(pictures, _PLANES_A_ROW))


def pick_preview_slices(depth: int) -> tuple[int, ...]:
    """Return the indices of at most 12 slices, spread over all but the ends of a volume of `depth` slices."""
    margin = int(depth * _MARGIN_SHARE)
    return _spread(margin, depth - margin, _SPARSE_PLANES)


def _spread(start: int, stop: int, count: int) -> tuple[int, ...]:
    """Return at most `count` indices, evenly from `start` to before `stop`, each in the middle of its share."""
    length = stop - start
    count = min(count, length)
    return tuple(start + (2 * step + 1) * length // (2 * count) for step in range(count))


def _find_focus(volume: npt.NDArray[np.int16]) -> _Focus:
    """Look for lungs on a coarse copy of the middle. Without any, all is shown.

    The back is left out: the foam of tables and pillows is as dense as lung.
    """
    depth, rows, columns = volume.shape
    top, left = rows // 4, columns // 4
    inner = volume[:, top : max(rows * 5 // 8, top + 1), left : columns - left]
    step = _COARSE_STEP if min(inner.shape[1:]) > _COARSE_STEP else 1
    coarse = inner[:, ::step, ::step]
    is_lung = (coarse > _LUNG_HU[0]) & (coarse < _LUNG_HU[1])
    areas = is_lung.sum(axis=(1, 2))
    if not areas.any():
        return _Focus(0, depth - 1, rows // 2, columns // 2)
    slices = np.flatnonzero(areas >= _LUNG_SHARE * areas.max())
    return _Focus(
        first=int(slices[0]),
        last=int(slices[-1]),
        row=top + step * int(is_lung.sum(axis=(0, 2)).argmax()),
        column=left + step * int(is_lung.sum(axis=(0, 1)).argmax()),
    )


def _draw(
    volume: npt.NDArray[np.int16],
    view: _View,
    index: int,
    *,
    spacing_mm: Triple,
    side_px: int,
    window: _Window = _LUNG,
) -> Picture:
    """Return one plane as a square picture, in true proportions, with its letters."""
    plane = view.cut(volume, index)
    down_mm, across_mm = view.cut_spacing(spacing_mm)
    height_mm, width_mm = plane.shape[0] * down_mm, plane.shape[1] * across_mm
    scale = side_px / max(height_mm, width_mm)
    rows, columns = max(1, round(height_mm * scale)), max(1, round(width_mm * scale))
    top, left = (side_px - rows) // 2, (side_px - columns) // 2
    fitted = _resize(_resize(plane.astype(np.float32), rows).T, columns).T
    picture = np.zeros((side_px, side_px), np.uint8)
    picture[top : top + rows, left : left + columns] = window.apply(fitted)
    paint_sides(picture, view.left, view.top)
    return picture


def _number(picture: Picture, index: int | None) -> None:
    if index is not None:
        paint_index(picture, index)


def _resize(plane: Reals, rows: int) -> Reals:
    """Return a plane with another number of rows: means of pairs while there are twice too many, then interpolated."""
    while len(plane) >= 2 * rows:
        pairs = plane[: len(plane) // 2 * 2]
        plane = (pairs[::2] + pairs[1::2]) / 2
    last = len(plane) - 1
    places = np.clip((np.arange(rows) + 0.5) * len(plane) / rows - 0.5, 0, last)
    below = places.astype(np.intp)
    share = (places - below).astype(np.float32)[:, np.newaxis]
    lower, upper = plane[below], plane[np.minimum(below + 1, last)]
    return lower + (upper - lower) * share


def _group(pictures: Sequence[Picture], count: int) -> list[Sequence[Picture]]:
    return [pictures[start : start + count] for start in range(0, len(pictures), count)]


def _encode(rows: Sequence[Sequence[Picture]]) -> bytes:
    """Return rows of pictures as a PNG; a row that is not full is black at its end."""
    strips = [np.concatenate(row, axis=1) for row in rows]
    padded = [np.pad(strip, ((0, 0), (0, _WIDTH_PX - strip.shape[1]))) for strip in strips]
    return bytes(imagecodecs.png_encode(np.concatenate(padded), level=1, strategy=_PNG_STRATEGY, filter=_PNG_FILTER))
