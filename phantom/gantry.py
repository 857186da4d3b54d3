"""A tilted gantry: planes that lean about the axis from right to left, while the table runs along the body.

What the anatomy is leans; so do blur and noise, which come after. Artefacts are painted before, in level planes.
"""

from __future__ import annotations

import math
from typing import Literal, TypeVar

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from phantom.canvas import Floats, Grid, Labels, Point

MOST_DEGREES = 25.0
"""Below the 30 degrees of real gantries, which intake takes to the last: angles are written with six decimals."""

_Values = TypeVar("_Values", Floats, Labels)


def lean_planes(values: _Values, grid: Grid, degrees: float) -> _Values:
    """Return what leaning planes see of values (z, y, x): HU between voxels linearly, labels those of the nearest.

    Each plane turns about its middle row, which stays where it was. Beyond the ends the last planes go on.
    """
    if not degrees:
        return values
    rise, run = _measure_rows(grid, degrees)
    middle = (grid.shape_zyx[1] - 1) / 2
    step_z, step_y, _ = grid.spacing_zyx_mm
    matrix: npt.NDArray[np.float64] = np.array([[1.0, rise / step_z, 0.0], [0.0, run / step_y, 0.0], [0.0, 0.0, 1.0]])
    offset = np.array([0.0, middle, 0.0]) - matrix @ np.array([0.0, middle, 0.0])
    order: Literal[0, 1] = 1 if np.issubdtype(values.dtype, np.floating) else 0
    leaning: _Values = ndimage.affine_transform(values, matrix, offset, order=order, mode="nearest")
    return leaning


def find_corner(grid: Grid, degrees: float) -> Point:
    """Return the centre of voxel (0, 0, 0) of leaning planes as (x, y, z) in mm, LPS."""
    x, y, z = grid.origin_lps_mm
    rise, run = _measure_rows(grid, degrees)
    middle = (grid.shape_zyx[1] - 1) / 2
    return (x, y + middle * (grid.spacing_zyx_mm[1] - run), z - middle * rise)


def find_column_direction(degrees: float) -> Point:
    """Return the direction down a column (LPS) of planes that lean so much."""
    angle = math.radians(degrees)
    return (0.0, math.cos(angle), math.sin(angle))


def _measure_rows(grid: Grid, degrees: float) -> tuple[float, float]:
    """Return by how many mm one row lies above, and behind, the one before it."""
    _, run, rise = find_column_direction(degrees)
    return rise * grid.spacing_zyx_mm[1], run * grid.spacing_zyx_mm[1]
