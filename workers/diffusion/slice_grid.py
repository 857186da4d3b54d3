"""Where slices and their pixels lie in the scan and in the patient: the way back through the preprocessing. Pure.

Indices of pixels are (x, y, slice) here, slice being a number in the prepared volume, which may lie between two.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from workers.ct_clip.configuration import ImageShape
from workers.ct_clip.token_grid import make_token_grid
from workers.diffusion.configuration import Preprocessing
from workers.diffusion.slices import find_square
from workers.volume import Geometry

Matrix = npt.NDArray[np.float64]


@dataclass(frozen=True)
class SliceGrid:
    """`to_volume` maps pixel indices to those of the volume (z, y, x), `to_lps` to millimetres: centres to centres.

    `scanned` are the slices that hold any of the volume; the others are padding.
    """

    to_volume: Matrix
    to_lps: Matrix
    scanned: range
    slice_size: int
    shape_zyx: tuple[int, int, int]

    @property
    def pixel_area_mm2(self) -> float:
        """Area of one pixel."""
        return float(np.linalg.norm(np.cross(self.to_lps[:3, 0], self.to_lps[:3, 1])))

    @property
    def slice_step_mm(self) -> float:
        """Distance of two neighbouring slices of the prepared volume."""
        return float(np.linalg.norm(self.to_lps[:3, 2]))

    def find_scanned_pixels(self) -> npt.NDArray[np.bool_]:
        """Return which pixels (x, y) of a slice lie in the scan; the others are padding."""
        along_x, along_y = (self._find_scanned_pixels(axis) for axis in (0, 1))
        return np.asarray(along_x[:, None] & along_y, np.bool_)

    def locate(self, points: npt.ArrayLike) -> Matrix:
        """Return LPS millimetres (n, 3) of points (n, 3) given as (x, y, slice)."""
        placed = np.asarray(points, np.float64) @ self.to_lps[:3, :3].T + self.to_lps[:3, 3]
        return np.asarray(placed, np.float64)

    def locate_centres(self, numbers: Sequence[int]) -> Matrix:
        """Return where the centres of some slices lie, (n, 3)."""
        middle = (self.slice_size - 1) / 2
        return self.locate([(middle, middle, number) for number in numbers])

    def _find_scanned_pixels(self, axis: int) -> npt.NDArray[np.bool_]:
        own = int(np.flatnonzero(self.to_volume[:3, axis])[0])
        scale, offset = self.to_volume[own, [axis, 3]]
        voxels = scale * np.arange(self.slice_size) + offset
        return np.asarray((voxels >= -0.5) & (voxels <= self.shape_zyx[own] - 0.5), np.bool_)


def make_slice_grid(geometry: Geometry, shape_zyx: tuple[int, int, int], preprocessing: Preprocessing) -> SliceGrid:
    """Return where the slices of a volume lie."""
    # A prepared volume is a grid of tokens of one voxel each.
    voxels = ImageShape(image_size=preprocessing.volume.shape[1], patch_size=1, temporal_patch_size=1)
    grid = make_token_grid(geometry, shape_zyx, preprocessing.volume, voxels)
    sides = preprocessing.volume.shape[1:]
    scale = min(sides) / preprocessing.slice_size
    to_prepared = np.diag([scale, scale, 1.0, 1.0])
    to_prepared[:2, 3] = np.asarray(find_square(sides)) + (scale - 1) / 2
    along_z = grid.scanned[2]
    return SliceGrid(
        grid.to_volume @ to_prepared,
        grid.to_lps @ to_prepared,
        range(along_z.start, along_z.stop),
        preprocessing.slice_size,
        shape_zyx,
    )
