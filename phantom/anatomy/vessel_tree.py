"""The trees of arteries and veins in the lungs.

Grown as Cuntz et al. (2010, "One rule to grow them all") describe: points are strewn over the lung, and each, nearest
to the hilum first, joins the branch that costs least in new length and in length of the way back. Widths follow from
the number of ends that a branch feeds (Murray's law).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
import numpy.typing as npt

from phantom.anatomy.lungs import Lungs
from phantom.anatomy.plan import BodyPlan
from phantom.canvas import Box, Canvas, Floats, Shape
from phantom.shapes import Tube

Vector = npt.NDArray[np.float64]
_ROOTS = {-1: (-42.0, 14.0, 98.0), 1: (45.0, 18.0, 102.0)}
_POINTS_PER_LUNG = 700
_WAY_BACK = 0.45
_END_RADIUS_MM = 0.8
_MURRAY = 0.42
_LEAST_DEPTH_MM = 4.0
_THIN = 0.7  # of a voxel; wider vessels are painted as shapes


@dataclass(frozen=True)
class Twig:
    """One piece of a vessel between two forks."""

    start: Vector
    end: Vector
    radius_mm: float


def grow_tree(plan: BodyPlan, lungs: Lungs, rng: np.random.Generator) -> list[Twig]:
    """Return the vessels of both lungs, from the hila to a few millimetres under the pleura."""
    twigs: list[Twig] = []
    for side, root in _ROOTS.items():
        start = np.asarray(plan.place(*root))
        points = _strew_points(lungs, side, start, rng)
        nodes = np.vstack([start, points])
        parents = _join_points(nodes)
        radii = _END_RADIUS_MM * plan.scale * _count_ends(parents) ** _MURRAY
        twigs += [
            Twig(nodes[parent], nodes[child], float(radii[child])) for child, parent in enumerate(parents) if child
        ]
    return twigs


def paint_tree(canvas: Canvas, box: Box, twigs: list[Twig], hu: float) -> None:
    """Paint the vessels in the box of the lungs: wide ones as shapes, thin ones by the volume that they fill."""
    limit = _THIN * canvas.grid.edge_mm
    thin = [twig for twig in twigs if twig.radius_mm < limit]
    canvas.blend(box, _fill_thin(canvas, box, thin), hu)
    for twig in twigs:
        if twig.radius_mm >= limit:
            tube = Tube(np.stack([twig.start, twig.end]), np.full(2, twig.radius_mm))
            tube.paint(canvas, hu)


def _fill_thin(canvas: Canvas, box: Box, twigs: list[Twig]) -> Floats:
    """Return the share of each voxel that thin vessels fill: beads along them, shared among the eight neighbours."""
    if not twigs:
        return np.zeros(box.shape, dtype=np.float32)
    starts, ends = np.array([twig.start for twig in twigs]), np.array([twig.end for twig in twigs])
    lengths = np.linalg.norm(ends - starts, axis=1)
    beads = np.ceil(lengths / (0.5 * canvas.grid.edge_mm)).astype(int)
    owner = np.repeat(np.arange(len(twigs)), beads)
    rank = np.arange(len(owner)) - np.repeat(np.cumsum(beads) - beads, beads)
    along = ((rank + 0.5) / beads[owner])[:, None]
    points = starts[owner] * (1 - along) + ends[owner] * along
    areas = np.pi * np.array([twig.radius_mm for twig in twigs]) ** 2
    shares = (areas * lengths / beads)[owner] / np.prod(canvas.grid.spacing_zyx_mm)
    first = np.array([box.z.flat[0], box.y.flat[0], box.x.flat[0]])
    return _share_out(box.shape, (points[:, ::-1] - first) / np.asarray(canvas.grid.spacing_zyx_mm), shares)


def _share_out(shape: Shape, indices: Vector, shares: Vector) -> Floats:
    """Add shares at fractional indices (n, 3) as (z, y, x), linearly between voxels; full voxels stay full."""
    lower = np.floor(indices).astype(int)
    part = indices - lower
    filled = np.zeros(int(np.prod(shape)))
    for corner in product((0, 1), repeat=3):
        place = lower + corner
        weight = np.prod(np.where(corner, part, 1 - part), axis=1) * shares
        inside = ((place >= 0) & (place < shape)).all(axis=1)
        flat = np.ravel_multi_index(place[inside].T, shape)
        filled += np.bincount(flat, weight[inside], filled.size)
    return np.clip(filled, 0, 1).astype(np.float32).reshape(shape)


def _strew_points(lungs: Lungs, side: int, root: Vector, rng: np.random.Generator) -> Vector:
    """Return points inside one lung, nearest to the hilum first, (n, 3) as (x, y, z)."""
    box = lungs.box
    low = np.array([box.x.min() if side < 0 else 0.0, box.y.min(), box.z.min()])
    high = np.array([0.0 if side < 0 else box.x.max(), box.y.max(), box.z.max()])
    tried = rng.uniform(low, high, (4 * _POINTS_PER_LUNG, 3))
    deep = lungs.find_depths(tried) > _LEAST_DEPTH_MM
    points = tried[deep][:_POINTS_PER_LUNG]
    return np.asarray(points[np.argsort(np.linalg.norm(points - root, axis=1))])


def _join_points(nodes: Vector) -> npt.NDArray[np.int64]:
    """Return the index of the parent of each node; node 0 is the root."""
    parents = np.zeros(len(nodes), dtype=np.int64)
    way_back = np.zeros(len(nodes))
    for child in range(1, len(nodes)):
        distances = np.sqrt(((nodes[:child] - nodes[child]) ** 2).sum(axis=1))
        parent = int(np.argmin(distances + _WAY_BACK * way_back[:child]))
        parents[child] = parent
        way_back[child] = way_back[parent] + distances[parent]
    return parents


def _count_ends(parents: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Return how many ends each node feeds (parents come before their children)."""
    has_child = np.zeros(len(parents), dtype=bool)
    has_child[parents[1:]] = True
    ends = np.where(has_child, 0.0, 1.0)
    for child in range(len(parents) - 1, 0, -1):
        ends[parents[child]] += ends[child]
    return ends
