"""Where a relevance map is strongest, in the terms of the volume and of the patient. Pure.

Maps are (x, y, slab), as the token grid's indices; positions are LPS in millimetres.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from workers.ct_clip.token_grid import Matrix, TokenGrid
from workers.volume import Geometry
from workers.volume.geometry import Triple

Map = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]

_OF_PEAK = 0.5
"""Share of the peak that a token of its region reaches (full width at half maximum)."""


@dataclass(frozen=True)
class Place:
    """The peak of a map and its region: the tokens joined to the peak that have half of its relevance.

    `share` is what part of all positive relevance lies in the region. The box (lowest and highest corner) holds the
    region within the volume. `slices` are the first and the last index z of the volume that it reaches, and
    `slice_positions_mm` where these two lie along the normal of the slices.
    """

    peak_log_odds: float
    peak_lps_mm: Triple
    share: float
    low_lps_mm: Triple
    high_lps_mm: Triple
    slices: tuple[int, int]
    slice_positions_mm: tuple[float, float]


def find_place(relevance: Map, grid: TokenGrid, geometry: Geometry) -> Place | None:
    """Return where a map is strongest within what was scanned; None where nothing speaks for the finding."""
    scanned = np.zeros(relevance.shape, bool)
    scanned[grid.scanned] = True
    positive = np.where(scanned, relevance, 0).clip(min=0).astype(np.float64)
    if not positive.any():
        return None
    peak = np.unravel_index(int(positive.argmax()), positive.shape)
    region = find_region(positive, peak)
    low, high = _find_corners(region, grid)  # of the volume, (z, y, x)
    corners = _apply(_make_lps(geometry), np.asarray(list(product(*zip(low, high, strict=True)))))
    centre = np.clip(_apply(grid.to_volume, np.asarray(peak)), 0, np.subtract(grid.shape_zyx, 1))
    first, last = int(np.floor(low[0] + 0.5)), int(np.ceil(high[0] - 0.5))
    positions = _apply(_make_lps(geometry), np.asarray([[first, 0, 0], [last, 0, 0]])) @ geometry.normal
    return Place(
        peak_log_odds=float(positive[peak]),
        peak_lps_mm=_round(_apply(_make_lps(geometry), centre)),
        share=float(positive[region].sum() / positive.sum()),
        low_lps_mm=_round(corners.min(axis=0)),
        high_lps_mm=_round(corners.max(axis=0)),
        slices=(first, last),
        slice_positions_mm=(round(float(positions[0]), 1), round(float(positions[1]), 1)),
    )


def find_region(positive: npt.NDArray[np.float64], peak: tuple[np.intp, ...]) -> Mask:
    """Return the tokens with half of the peak's relevance that touch it through such tokens, by corners too."""
    labels, _ = ndimage.label(positive >= _OF_PEAK * positive[peak], np.ones((3, 3, 3)))
    region: Mask = labels == labels[peak]
    return region


def _find_corners(region: Mask, grid: TokenGrid) -> tuple[Matrix, Matrix]:
    """Return the lowest and the highest corner (z, y, x) of a region, as indices of the volume: -0.5 is its edge."""
    tokens = np.argwhere(region)
    outer = _apply(grid.to_volume, np.stack([tokens.min(axis=0) - 0.5, tokens.max(axis=0) + 0.5]))
    edge = np.asarray(grid.shape_zyx) - 0.5
    return np.clip(outer.min(axis=0), -0.5, edge), np.clip(outer.max(axis=0), -0.5, edge)


def _make_lps(geometry: Geometry) -> Matrix:
    """Return the matrix from indices (z, y, x) to LPS."""
    return geometry.compute_affine_lps()[:, [2, 1, 0, 3]]


def _apply(matrix: Matrix, points: npt.NDArray[np.floating | np.integer]) -> Matrix:
    moved: Matrix = points @ matrix[:3, :3].T + matrix[:3, 3]
    return moved


def _round(point: Matrix) -> Triple:
    x, y, z = (round(float(value), 1) for value in point)
    return (x, y, z)
