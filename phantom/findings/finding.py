"""What a finding is: its name, how it is put into a chest, and the ground truth that it leaves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from phantom.anatomy.airways import TRACHEA
from phantom.anatomy.chest import Chest
from phantom.anatomy.plan import BodyPlan
from phantom.canvas import Box, Canvas, Floats, Grid, Point

_SEEN = 0.2  # of the strongest coverage


@dataclass(frozen=True)
class PlacedFinding:
    """Ground truth of one finding: box by centre and full extent (x, y, z), and severity from 0 to 1."""

    name: str
    centre_lps_mm: Point
    extent_mm: Point
    severity: float


@dataclass(frozen=True)
class Extent:
    """The corners (x, y, z) of what a finding changed, in millimetres."""

    low: Point
    high: Point

    @classmethod
    def around(cls, grid: Grid, box: Box, changed: npt.NDArray[np.bool_]) -> Extent | None:
        """Return the outer corners of the voxels that are true in an array over the box; None if there are none."""
        if not changed.any():
            return None
        spans = []
        for axis, line in ((2, box.x), (1, box.y), (0, box.z)):
            others = tuple(other for other in range(3) if other != axis)
            reached = line.ravel()[changed.any(axis=others)]
            half_voxel = grid.spacing_zyx_mm[axis] / 2
            spans.append((float(reached[0]) - half_voxel, float(reached[-1]) + half_voxel))
        (x0, x1), (y0, y1), (z0, z1) = spans
        return cls((x0, y0, z0), (x1, y1, z1))

    @classmethod
    def join(cls, extents: Sequence[Extent | None]) -> Extent:
        """Return the extent that holds all; ValueError when nothing was changed at all."""
        known = [extent for extent in extents if extent]
        if not known:
            raise ValueError("the finding lies outside of the study")
        low = np.min([extent.low for extent in known], axis=0).tolist()
        high = np.max([extent.high for extent in known], axis=0).tolist()
        return cls((low[0], low[1], low[2]), (high[0], high[1], high[2]))

    def place(self, name: str, severity: float) -> PlacedFinding:
        """Return the ground truth for this extent."""
        x, y, z = ((low + high) / 2 for low, high in zip(self.low, self.high, strict=True))
        width, depth, height = (high - low for low, high in zip(self.low, self.high, strict=True))
        return PlacedFinding(name, (x, y, z), (width, depth, height), round(severity, 4))


@dataclass(frozen=True)
class Site:
    """Where a finding is put: the chest, its own random numbers, and how severe it is to be (0 to 1)."""

    canvas: Canvas
    chest: Chest
    severity: float
    rng: np.random.Generator

    def grade(self, mild: float, severe: float) -> float:
        """Return a size, number or density between its mild and its severe value."""
        return mild + (severe - mild) * self.severity

    def draw(self, low: float, high: float) -> float:
        """Draw evenly from a range."""
        return float(self.rng.uniform(low, high))

    def draw_side(self) -> int:
        """Draw -1 (the patient's right) or 1 (left)."""
        return 1 if self.rng.random() < 0.5 else -1

    def take_lungs(self, box: Box) -> Floats:
        """Return distances to the pleura on a box within the box of the lungs."""
        return self.chest.lungs.distance[self.chest.lungs.box.find_window(box)]

    def cover_lungs(self, box: Box) -> Floats:
        """Return how much of each voxel is lung, airways left out."""
        open_airway = self.canvas.labels[box.slices] == TRACHEA
        coverage = self.canvas.cover(self.take_lungs(box))
        coverage[open_airway] = 0.0
        return coverage

    def make_side_box(self, side: int) -> Box:
        """Return the half of the lungs' box that belongs to one side."""
        half = (-np.inf, 0.0) if side < 0 else (0.0, np.inf)
        outer = self.canvas.grid.make_box((half[0], -np.inf, -np.inf), (half[1], np.inf, np.inf))
        return self.chest.lungs.box.intersect(outer)

    def blend(self, box: Box, coverage: Floats, hu: float | Floats) -> Extent | None:
        """Blend into the chest; return the extent of what is clearly covered."""
        if box.is_empty:
            return None
        self.canvas.blend(box, coverage, hu)
        strongest = float(coverage.max())
        return Extent.around(self.canvas.grid, box, coverage > _SEEN * strongest) if strongest else None

    def pick_lung_points(
        self, count: int, depth_mm: tuple[float, float], z_share: tuple[float, float] = (-0.2, 0.9), side: int = 0
    ) -> npt.NDArray[np.float64]:
        """Draw points (n, 3) in the lungs by depth under the pleura and share of the height of the lungs."""
        box, top = self.chest.lungs.box, self.chest.plan.apex_mm
        low = (0.0 if side > 0 else float(box.x.min()), float(box.y.min()), z_share[0] * top)
        high = (0.0 if side < 0 else float(box.x.max()), float(box.y.max()), z_share[1] * top)
        tried = self.rng.uniform(low, high, (3000, 3))
        depths = self.chest.lungs.find_depths(tried)
        found = tried[(depths >= depth_mm[0]) & (depths <= depth_mm[1])]
        if not len(found):
            raise ValueError(f"no place in the lungs is {depth_mm[0]} to {depth_mm[1]} mm deep")
        return found[np.arange(count) % len(found)]


PlanChange = Callable[[BodyPlan, float, np.random.Generator], BodyPlan]
Painter = Callable[[Site], Extent]


@dataclass(frozen=True)
class Finding:
    """A finding by name. `change` reshapes the body plan before painting; `paint` works on the painted chest."""

    name: str
    paint: Painter
    change: PlanChange | None = None
