"""The trees of arteries and veins in the lungs, grown by repeated forking from the hila."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from phantom.anatomy.lungs import Lungs
from phantom.anatomy.plan import BodyPlan
from phantom.canvas import Canvas
from phantom.shapes import compute_cone_distance

Vector = npt.NDArray[np.float64]
_ROOTS = {-1: (-44.0, 16.0, 98.0), 1: (46.0, 20.0, 102.0)}
_TRUNKS = 13
_DEEPEST = 5
_SHRINK = 0.76


@dataclass(frozen=True)
class Twig:
    """One piece of a vessel between two forks."""

    start: Vector
    end: Vector
    radius_mm: float


def grow_tree(plan: BodyPlan, lungs: Lungs, rng: np.random.Generator) -> list[Twig]:
    """Return the vessels of both lungs; what leaves the lung is not grown."""
    twigs: list[Twig] = []
    for side, root in _ROOTS.items():
        start = np.asarray(plan.place(*root))
        for direction in _spread_directions(side, rng):
            radius = float(rng.uniform(2.7, 4.4)) * plan.scale
            twigs.extend(_grow(lungs, start, direction, radius, 0, rng))
    return twigs


def paint_tree(canvas: Canvas, twigs: list[Twig], hu: float) -> None:
    """Paint the vessels. One thinner than a voxel is painted as wide as a voxel and as much fainter."""
    widest = 0.55 * canvas.grid.edge_mm
    for twig in twigs:
        radius = max(twig.radius_mm, widest)
        reach = radius + canvas.grid.edge_mm
        box = canvas.grid.make_box(np.minimum(twig.start, twig.end) - reach, np.maximum(twig.start, twig.end) + reach)
        if not box.is_empty:
            distance = compute_cone_distance(box, twig.start, twig.end, radius, radius * _SHRINK)
            canvas.paint(box, distance, hu, strength=min(1.0, (twig.radius_mm / radius) ** 2))


def _spread_directions(side: int, rng: np.random.Generator) -> Iterator[Vector]:
    # A Fibonacci half-sphere that looks away from the mediastinum, shaken a little.
    for k in range(_TRUNKS):
        height = 1 - 2 * (k + 0.5) / _TRUNKS
        angle = k * 2.399963
        flat = np.sqrt(1 - height * height)
        direction = np.array([side * abs(flat * np.cos(angle)), flat * np.sin(angle), height])
        yield _normalise(direction + (side * 0.25, 0, 0) + rng.normal(0, 0.18, 3))


def _grow(
    lungs: Lungs, start: Vector, direction: Vector, radius: float, level: int, rng: np.random.Generator
) -> Iterator[Twig]:
    length = float(rng.uniform(20, 32)) * 0.86**level
    end = start + direction * length
    depth = lungs.find_depth((float(end[0]), float(end[1]), float(end[2])))
    if level > 0 and depth < 1.5:
        return
    yield Twig(start, end, radius)
    if level == _DEEPEST or radius < 0.55:
        return
    axis = _normalise(np.cross(direction, rng.normal(0, 1, 3)))
    for sign, angle in ((1, rng.uniform(0.25, 0.6)), (-1, rng.uniform(0.3, 0.8))):
        child = _normalise(direction * np.cos(angle) + sign * axis * np.sin(angle))
        yield from _grow(lungs, end, child, radius * _SHRINK, level + 1, rng)


def _normalise(vector: Vector) -> Vector:
    return np.asarray(vector / max(float(np.linalg.norm(vector)), 1e-9))
