"""Shapes by signed distance in millimetres: negative inside, positive outside, right near the surface."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from phantom.canvas import Box, Canvas, Floats, Grid, Point

Matrix = npt.NDArray[np.float64]
_TINY = np.float32(1e-6)


def make_rotation(yaw_deg: float = 0.0, pitch_deg: float = 0.0, roll_deg: float = 0.0) -> Matrix:
    """Return a rotation whose rows are the axes of the turned shape: about z, then y, then x."""
    yaw, pitch, roll = np.deg2rad((yaw_deg, pitch_deg, roll_deg))
    about_z = np.array([[np.cos(yaw), np.sin(yaw), 0], [-np.sin(yaw), np.cos(yaw), 0], [0, 0, 1]])
    about_y = np.array([[np.cos(pitch), 0, -np.sin(pitch)], [0, 1, 0], [np.sin(pitch), 0, np.cos(pitch)]])
    about_x = np.array([[1, 0, 0], [0, np.cos(roll), np.sin(roll)], [0, -np.sin(roll), np.cos(roll)]])
    return np.asarray(about_x @ about_y @ about_z)


@dataclass(frozen=True)
class Ellipsoid:
    """An ellipsoid by centre and half-axes; `rotation` as `make_rotation` gives it."""

    centre: Point
    radii: Point
    rotation: Matrix | None = None

    def make_box(self, grid: Grid, margin_mm: float = 0.0) -> Box:
        """Return the part of the grid that the ellipsoid and a margin around it take."""
        axes = np.eye(3) if self.rotation is None else self.rotation
        reach = np.sqrt(((axes * np.asarray(self.radii)[:, None]) ** 2).sum(axis=0)) + margin_mm + grid.edge_mm
        return grid.make_box(np.asarray(self.centre) - reach, np.asarray(self.centre) + reach)

    def compute_distance(self, box: Box) -> Floats:
        """Return distances on the box (first-order: exact at the surface, fair nearby)."""
        offsets = [axis - np.float32(c) for axis, c in zip((box.x, box.y, box.z), self.centre, strict=True)]
        if self.rotation is not None:
            turned = self.rotation.astype(np.float32)
            offsets = [offsets[0] * row[0] + offsets[1] * row[1] + offsets[2] * row[2] for row in turned]
        unit = [offset / np.float32(radius) for offset, radius in zip(offsets, self.radii, strict=True)]
        slope = [part / np.float32(radius) for part, radius in zip(unit, self.radii, strict=True)]
        length = np.sqrt(unit[0] ** 2 + unit[1] ** 2 + unit[2] ** 2)
        gradient = np.sqrt(slope[0] ** 2 + slope[1] ** 2 + slope[2] ** 2) + _TINY
        # Near the centre the quotient loses its meaning; the smallest half-axis bounds it.
        distance: Floats = np.maximum(length * (length - 1) / gradient, np.float32(-min(self.radii)))
        return distance

    def scale(self, factor: float, about: Point) -> Ellipsoid:
        """Return the ellipsoid grown about a fixed point."""
        x, y, z = (fixed + factor * (own - fixed) for own, fixed in zip(self.centre, about, strict=True))
        grown = (self.radii[0] * factor, self.radii[1] * factor, self.radii[2] * factor)
        return Ellipsoid((x, y, z), grown, self.rotation)


@dataclass(frozen=True)
class Tube:
    """A chain of round cones along points (n, 3) as (x, y, z), with a radius at each point."""

    points: npt.NDArray[np.float64]
    radii: npt.NDArray[np.float64]

    def make_box(self, grid: Grid, margin_mm: float = 0.0) -> Box:
        """Return the part of the grid that the tube and a margin around it take."""
        reach = self.radii.max() + margin_mm + grid.edge_mm
        return grid.make_box(self.points.min(axis=0) - reach, self.points.max(axis=0) + reach)

    def compute_distance(self, box: Box) -> Floats:
        """Return distances on the box: the least over all segments."""
        distance = np.full(box.shape, np.inf, dtype=np.float32)
        for (start, end), (r0, r1) in zip(pairwise(self.points), pairwise(self.radii), strict=True):
            np.minimum(distance, compute_cone_distance(box, start, end, float(r0), float(r1)), out=distance)
        return distance

    def paint(self, canvas: Canvas, hu: float, *, grow_mm: float = 0.0, label: int | None = None) -> None:
        """Paint segment by segment, each on its own box; `grow_mm` makes the tube thicker."""
        reach = canvas.grid.edge_mm + grow_mm
        for (start, end), (r0, r1) in zip(pairwise(self.points), pairwise(self.radii), strict=True):
            low = np.minimum(start - r0, end - r1) - reach
            high = np.maximum(start + r0, end + r1) + reach
            box = canvas.grid.make_box(low, high)
            if not box.is_empty:
                distance = compute_cone_distance(box, start, end, float(r0) + grow_mm, float(r1) + grow_mm)
                canvas.paint(box, distance, hu, label=label)


def make_tube(points: Sequence[Point], radii: Sequence[float] | float, steps: int = 0) -> Tube:
    """Return a tube through points; `steps` > 0 rounds it by that many pieces per leg (Catmull-Rom)."""
    path = np.asarray(points, dtype=np.float64)
    widths = np.full(len(path), radii) if isinstance(radii, float | int) else np.asarray(radii, dtype=np.float64)
    if steps:
        # Widths go straight from point to point: rounding them too would overshoot beyond what was asked for.
        pieces = np.arange((len(path) - 1) * steps + 1) / steps
        path, widths = _round_path(path, steps), np.interp(pieces, np.arange(len(path)), widths)
    return Tube(path, widths)


def compute_cone_distance(box: Box, start: Matrix, end: Matrix, r0: float, r1: float) -> Floats:
    """Return distances to one round cone from `start` (radius r0) to `end` (radius r1)."""
    axis = (end - start).astype(np.float32)
    dx, dy, dz = (c - np.float32(s) for c, s in zip((box.x, box.y, box.z), start, strict=True))
    along = (dx * axis[0] + dy * axis[1] + dz * axis[2]) / np.float32(max(float(axis @ axis), 1e-9))
    np.clip(along, 0.0, 1.0, out=along)
    squared = (dx - along * axis[0]) ** 2
    squared += (dy - along * axis[1]) ** 2
    squared += (dz - along * axis[2]) ** 2
    distance: Floats = np.sqrt(squared, out=squared)
    distance -= np.float32(r0) + along * np.float32(r1 - r0)
    return distance


def join_smoothly(first: Floats, second: Floats, blend_mm: float) -> Floats:
    """Return the union of two shapes, rounded where they meet (polynomial smooth minimum)."""
    overlap = np.maximum(np.float32(blend_mm) - np.abs(first - second), 0.0)
    joined: Floats = np.minimum(first, second) - overlap * overlap * np.float32(0.25 / blend_mm)
    return joined


def _round_path(path: Matrix, steps: int) -> Matrix:
    padded = np.vstack([2 * path[0] - path[1], path, 2 * path[-1] - path[-2]])
    t = np.arange(steps)[:, None] / steps
    legs = []
    for a, b, c, d in zip(padded, padded[1:], padded[2:], padded[3:], strict=False):
        legs.append(0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - 3 * c + d - a) * t**3))
    return np.vstack([*legs, path[-1:]])
