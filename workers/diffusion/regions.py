"""The parts of a map that stand out: where they lie in the patient, how large they are, how far from healthy. Pure.

Maps are (n, x, y) in HU, of n slices of the prepared volume.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise, product

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from model_weights.policies.reconstruction import RegionOptions
from shared.json_values import JsonObject
from workers.diffusion.slice_grid import Matrix, SliceGrid
from workers.volume.geometry import Triple

_JOINED_WITHIN_MM = 5.0
"""Slices that are further apart are not joined: what lies between them was not looked at."""

_HU_MM2 = 1e5
"""Score 1 is 1 cm2 that differs by 1000 HU."""


@dataclass(frozen=True)
class Region:
    """A connected part of the map over the threshold. `score` grows with area and difference, over all its slices.

    The centre is weighted by difference; the box (lowest and highest corner) holds whole pixels and slices.
    """

    centre_lps_mm: Triple
    low_lps_mm: Triple
    high_lps_mm: Triple
    slices: tuple[int, ...]
    area_mm2: float
    mean_hu: float
    largest_hu: float
    score: float

    @property
    def extent_lps_mm(self) -> Triple:
        """Sides of the box along L, P and S."""
        return _triple(np.subtract(self.high_lps_mm, self.low_lps_mm))

    def to_document(self) -> JsonObject:
        """Return the region as plain JSON values."""
        return {
            "centre_lps_mm": list(self.centre_lps_mm),
            "extent_lps_mm": list(self.extent_lps_mm),
            "box_lps_mm": {"low": list(self.low_lps_mm), "high": list(self.high_lps_mm)},
            "slices": list(self.slices),
            "area_mm2": self.area_mm2,
            "mean_hu": self.mean_hu,
            "largest_hu": self.largest_hu,
            "score": self.score,
        }


def find_regions(
    maps: npt.NDArray[np.float32],
    numbers: Sequence[int],
    grid: SliceGrid,
    options: RegionOptions,
    threshold_hu: float,
) -> list[Region]:
    """Return the regions with the highest scores, the highest first; `threshold_hu` is for options without one."""
    least_hu = threshold_hu if options.threshold_hu is None else options.threshold_hu
    is_over = (maps > least_hu) & grid.find_scanned_pixels()
    labels = _label(is_over, numbers, grid.slice_step_mm)
    areas_mm2 = np.bincount(labels.ravel())[1:] * grid.pixel_area_mm2
    sums = np.bincount(labels.ravel(), weights=maps.ravel())[1:]
    boxes = ndimage.find_objects(labels)
    ranked = sorted(np.flatnonzero(areas_mm2 >= options.least_mm2), key=lambda place: (-sums[place], place))
    return [
        _describe(maps[box], labels[box] == place + 1, box, numbers, grid)
        for place in ranked[: options.most]
        if (box := boxes[place]) is not None
    ]


def _label(is_over: npt.NDArray[np.bool_], numbers: Sequence[int], step_mm: float) -> npt.NDArray[np.int64]:
    """Return the number of the part that each pixel belongs to, 0 for none."""
    labels = np.zeros(is_over.shape, np.int64)
    most = 0
    for run in _split_runs(numbers, step_mm):
        found, count = ndimage.label(is_over[run])
        labels[run] = np.where(found > 0, found + most, 0)
        most += count
    return labels


def _split_runs(numbers: Sequence[int], step_mm: float) -> list[slice]:
    """Return runs of places whose slices are near enough to be joined."""
    breaks = np.flatnonzero(np.diff(numbers) * step_mm > _JOINED_WITHIN_MM) + 1
    ends = [0, *breaks.tolist(), len(numbers)]
    return [slice(start, stop) for start, stop in pairwise(ends)]


def _describe(
    part: npt.NDArray[np.float32],
    is_in: npt.NDArray[np.bool_],
    box: tuple[slice, ...],
    numbers: Sequence[int],
    grid: SliceGrid,
) -> Region:
    first, left, top = (side.start for side in box)
    places, x, y = np.nonzero(is_in)
    slices = np.asarray(numbers)[places + first]
    points = np.stack([x + left, y + top, slices], axis=1)
    differences = part[is_in].astype(np.float64)
    centre = np.average(grid.locate(points), axis=0, weights=differences)
    corners = _locate_corners(points, grid)
    area_mm2 = len(points) * grid.pixel_area_mm2
    return Region(
        centre_lps_mm=_triple(centre),
        low_lps_mm=_triple(corners.min(axis=0)),
        high_lps_mm=_triple(corners.max(axis=0)),
        slices=tuple(np.unique(slices).tolist()),
        area_mm2=area_mm2,
        mean_hu=float(differences.mean()),
        largest_hu=float(differences.max()),
        score=area_mm2 * float(differences.mean()) / _HU_MM2,
    )


def _locate_corners(points: npt.NDArray[np.int64], grid: SliceGrid) -> Matrix:
    """Return where the corners of the box around some pixels lie, whole pixels and slices included."""
    ends = zip(points.min(axis=0) - 0.5, points.max(axis=0) + 0.5, strict=True)
    return grid.locate(list(product(*ends)))


def _triple(values: npt.NDArray[np.float64]) -> Triple:
    first, second, third = (float(value) for value in values)
    return (first, second, third)
