"""What a finding is: its name, how it is put into a chest, and the ground truth that it leaves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from phantom.anatomy.chest import Chest
from phantom.anatomy.plan import BodyPlan
from phantom.canvas import Box, Canvas, Floats, Point


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
    def around(cls, box: Box, changed: np.ndarray) -> Extent:
        """Return the corners of the voxels that are true in an array over the box."""
        if not changed.any():
            return cls((0.0, 0.0, 0.0), (0.0, 0.0, 0.0))
        spans = []
        for axis, line in ((2, box.x), (1, box.y), (0, box.z)):
            others = tuple(other for other in range(3) if other != axis)
            reached = line.ravel()[changed.any(axis=others)]
            spans.append((float(reached[0]), float(reached[-1])))
        return cls((spans[0][0], spans[1][0], spans[2][0]), (spans[0][1], spans[1][1], spans[2][1]))

    def place(self, name: str, severity: float) -> PlacedFinding:
        """Return the ground truth for this extent."""
        centre = tuple((low + high) / 2 for low, high in zip(self.low, self.high, strict=True))
        extent = tuple(high - low for low, high in zip(self.low, self.high, strict=True))
        return PlacedFinding(
            name, (centre[0], centre[1], centre[2]), (extent[0], extent[1], extent[2]), round(severity, 4)
        )


@dataclass(frozen=True)
class Site:
    """Where a finding is put: the chest, its own random numbers, and how severe it is to be (0 to 1)."""

    canvas: Canvas
    chest: Chest
    severity: float
    rng: np.random.Generator

    def grade(self, mild: float, severe: float) -> float:
        """Return a size or density between its mild and its severe value."""
        return mild + (severe - mild) * self.severity


PlanChange = Callable[[BodyPlan, float, np.random.Generator], BodyPlan]
Painter = Callable[[Site], Extent]


@dataclass(frozen=True)
class Finding:
    """A finding by name. `change` reshapes the body plan before painting; `paint` works on the painted chest."""

    name: str
    paint: Painter
    change: PlanChange | None = None


def blend_into(site: Site, box: Box, coverage: Floats, hu: float | Floats, seen: float = 0.3) -> Extent:
    """Blend into the chest and return the extent of what is covered by more than `seen`."""
    if box.is_empty:
        return Extent((0.0, 0.0, 0.0), (0.0, 0.0, 0.0))
    site.canvas.blend(box, coverage, hu)
    return Extent.around(box, coverage > seen)


def join_extents(extents: list[Extent]) -> Extent:
    """Return the extent that holds all of them."""
    low = np.min([extent.low for extent in extents], axis=0)
    high = np.max([extent.high for extent in extents], axis=0)
    return Extent((float(low[0]), float(low[1]), float(low[2])), (float(high[0]), float(high[1]), float(high[2])))
