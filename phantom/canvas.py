"""The grid that a phantom is painted on, and painting with soft edges.

Space is DICOM's LPS in millimetres: x to the patient's left, y to the back, z to the head. Arrays are (z, y, x).
Shapes are evaluated on boxes, never on the whole grid, with coordinates that broadcast: z is (n, 1, 1) and so on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Labels = npt.NDArray[np.uint8]
Point = tuple[float, float, float]
Shape = tuple[int, int, int]
Corner = Sequence[float] | npt.NDArray[np.float64]

AIR_HU = -1000.0


@dataclass(frozen=True)
class Box:
    """A part of the grid: index slices (z, y, x), and the coordinates of its voxel centres in millimetres."""

    slices: tuple[slice, slice, slice]
    x: Floats
    y: Floats
    z: Floats

    @property
    def shape(self) -> Shape:
        """Number of voxels along (z, y, x)."""
        return (self.z.size, self.y.size, self.x.size)

    @property
    def is_empty(self) -> bool:
        """Whether the box lies outside of the grid."""
        return 0 in self.shape

    def intersect(self, other: Box) -> Box:
        """Return the part of this box that the other covers too (both on one grid)."""
        z, y, x = self.find_window(other)
        slices = tuple(
            slice(own.start + part.start, own.start + part.stop)
            for own, part in zip(self.slices, (z, y, x), strict=True)
        )
        return Box((slices[0], slices[1], slices[2]), self.x[..., x], self.y[:, y], self.z[z])

    def find_window(self, other: Box) -> tuple[slice, slice, slice]:
        """Return where the shared part lies in an array over this box."""
        window = []
        for own, part in zip(self.slices, other.slices, strict=True):
            start = min(max(part.start - own.start, 0), own.stop - own.start)
            window.append(slice(start, max(start, min(part.stop, own.stop) - own.start)))
        return (window[0], window[1], window[2])


@dataclass(frozen=True)
class Grid:
    """Voxel centres of an axial study. `origin_lps_mm` is the centre of voxel (0, 0, 0), as (x, y, z)."""

    shape_zyx: Shape
    spacing_zyx_mm: Point
    origin_lps_mm: Point

    @cached_property
    def x(self) -> Floats:
        """Coordinates along x, (nx,)."""
        return self._make_axis(2, self.origin_lps_mm[0])

    @cached_property
    def y(self) -> Floats:
        """Coordinates along y, (ny,)."""
        return self._make_axis(1, self.origin_lps_mm[1])

    @cached_property
    def z(self) -> Floats:
        """Coordinates along z, (nz,)."""
        return self._make_axis(0, self.origin_lps_mm[2])

    @cached_property
    def edge_mm(self) -> float:
        """Width of a soft edge: about one voxel."""
        return float(np.prod(self.spacing_zyx_mm) ** (1 / 3))

    @cached_property
    def whole(self) -> Box:
        """The box that is the whole grid."""
        return self.make_box((-np.inf,) * 3, (np.inf,) * 3)

    def make_box(self, low_xyz: Corner, high_xyz: Corner) -> Box:
        """Return the voxels between two corners, given as (x, y, z) in millimetres."""
        bounds = zip((self.x, self.y, self.z), low_xyz, high_xyz, strict=True)
        x, y, z = (
            slice(int(np.searchsorted(axis, low, "left")), int(np.searchsorted(axis, high, "right")))
            for axis, low, high in bounds
        )
        return Box((z, y, x), self.x[None, None, x], self.y[None, y, None], self.z[z, None, None])

    def _make_axis(self, axis: int, origin: float) -> Floats:
        return np.asarray(origin + self.spacing_zyx_mm[axis] * np.arange(self.shape_zyx[axis]), dtype=np.float32)


class Canvas:
    """HU (float32) and organ labels (uint8, TotalSegmentator's numbers) of one study while it is painted."""

    def __init__(self, grid: Grid) -> None:
        self.grid = grid
        self.hu: Floats = np.full(grid.shape_zyx, AIR_HU, dtype=np.float32)
        self.labels: Labels = np.zeros(grid.shape_zyx, dtype=np.uint8)

    def cover(self, distance: Floats, edge_mm: float | None = None) -> Floats:
        """Turn signed distances (negative inside, millimetres) into coverage 0 to 1 with a soft edge."""
        coverage = distance * np.float32(-1.0 / (edge_mm or self.grid.edge_mm))
        coverage += np.float32(0.5)
        return np.clip(coverage, 0.0, 1.0, out=coverage)

    def paint(
        self, box: Box, distance: Floats, hu: float | Floats, *, label: int | None = None, strength: float = 1.0
    ) -> None:
        """Blend `hu` over what is inside, up to `strength`; `label` marks voxels that are mostly inside."""
        if box.is_empty:
            return
        coverage = self.cover(distance)
        if label is not None:
            self.labels[box.slices][coverage > 0.5] = label
        self.blend(box, coverage if strength == 1.0 else coverage * np.float32(strength), hu)

    def blend(self, box: Box, coverage: Floats, hu: float | Floats) -> None:
        """Blend `hu` over the box by `coverage` (0 keeps what is there, 1 replaces it)."""
        under = self.hu[box.slices]
        change = np.asarray(hu, dtype=np.float32) - under
        change *= coverage
        under += change
