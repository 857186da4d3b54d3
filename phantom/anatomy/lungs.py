"""The lungs: shape, lobes, parenchyma with a gravitational gradient, and the trees of vessels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from phantom.anatomy.heart import Heart
from phantom.anatomy.plan import BodyPlan
from phantom.anatomy.skeleton import Spine
from phantom.anatomy.trunk import Trunk
from phantom.canvas import Box, Canvas, Floats
from phantom.fields import make_smooth_field
from phantom.shapes import Tube

UPPER_LEFT, LOWER_LEFT, UPPER_RIGHT, MIDDLE_RIGHT, LOWER_RIGHT = 10, 11, 12, 13, 14
LOBES = (UPPER_LEFT, LOWER_LEFT, UPPER_RIGHT, MIDDLE_RIGHT, LOWER_RIGHT)


@dataclass(frozen=True)
class Lungs:
    """Distances to the pleura of both lungs on one box (negative inside), and the surface of the diaphragm."""

    box: Box
    distance: Floats
    to_diaphragm: Floats

    def find_depths(self, points: npt.NDArray[np.float64]) -> Floats:
        """Return how deep points (n, 3) as (x, y, z) lie under the pleura; negative outside of the lungs."""
        indices = []
        for axis, values in zip((self.box.z, self.box.y, self.box.x), points.T[::-1], strict=True):
            line = axis.ravel()
            nearest = np.rint((values - line[0]) / (line[1] - line[0])).astype(int)
            indices.append(np.clip(nearest, 0, line.size - 1))
        depths: Floats = -self.distance[indices[0], indices[1], indices[2]]
        return depths


def measure_lungs(
    canvas: Canvas, plan: BodyPlan, trunk: Trunk, *, spine: Spine, heart: Heart, tubes: Sequence[Tube]
) -> Lungs:
    """Compute where the lungs are: in the cage, above the diaphragm, beside the mediastinum."""
    box = _make_box(canvas, plan).intersect(trunk.box)
    to_cage = trunk.take_cage(box)
    diaphragm = compute_diaphragm(box, plan)
    to_diaphragm = np.asarray((diaphragm - box.z) * np.float32(0.75), dtype=np.float32)
    mediastinum = _measure_mediastinum(canvas, plan, box, spine=spine, heart=heart, tubes=tubes)
    distance = np.maximum(to_cage, -mediastinum)
    np.maximum(distance, to_diaphragm, out=distance)
    return Lungs(box, np.maximum(distance, _compute_apex(box, plan)), to_diaphragm)


def compute_diaphragm(box: Box, plan: BodyPlan) -> Floats:
    """Return the height of the diaphragm over (y, x): two domes that fall away to the walls."""
    sx, sy, sz = plan.scale_xyz
    x, y = box.x / sx, box.y / sy
    fall = np.where(y < -5, 240.0, 140.0)  # the recess is deep behind and shallow in front
    right = -((x + 66) ** 2 / 105 + (y + 5) ** 2 / fall)
    left = plan.left_dome_mm - ((x - 70) ** 2 / 105 + (y + 5) ** 2 / fall)
    tendon = -9.0 - ((x - 8) ** 2 / 80 + (y + 22) ** 2 / 130)
    return np.asarray(sz * np.maximum(np.maximum(right, left), tendon), dtype=np.float32)


def paint_lungs(canvas: Canvas, plan: BodyPlan, lungs: Lungs, rng: np.random.Generator) -> None:
    """Paint the parenchyma and mark the lobes."""
    box = lungs.box
    hu = make_smooth_field(box, 22.0, rng) * np.float32(9.0)
    hu += make_smooth_field(box, 7.0, rng) * np.float32(11.0)
    hu += plan.lung_hu + plan.lung_gradient_hu_per_mm * box.y
    canvas.paint(box, lungs.distance, hu)
    inside = lungs.distance < 0
    np.copyto(canvas.labels[box.slices], _number_lobes(box, plan), where=inside)


def _make_box(canvas: Canvas, plan: BodyPlan) -> Box:
    half_width, half_depth, _ = plan.compute_cage(canvas.grid.z)
    reach_x, reach_y = float(half_width.max()) + 10, float(half_depth.max()) + 26
    return canvas.grid.make_box((-reach_x, -reach_y, -100.0 * plan.scale_xyz[2]), (reach_x, reach_y, plan.apex_mm + 8))


def _compute_apex(box: Box, plan: BodyPlan) -> Floats:
    across = (np.abs(box.x) / plan.scale_xyz[0] - 48.0) ** 2 + (box.y / plan.scale_xyz[1] - 22.0) ** 2
    return np.asarray(box.z - plan.apex_mm + across * np.float32(0.012), dtype=np.float32)


def _measure_mediastinum(
    canvas: Canvas, plan: BodyPlan, box: Box, *, spine: Spine, heart: Heart, tubes: Sequence[Tube]
) -> Floats:
    sx, sy, _ = plan.scale_xyz
    t = np.clip(box.z / np.float32(plan.apex_mm), -0.3, 1.2)
    half_width = sx * (17.0 + 13.0 * np.exp(-(((t - 0.55) / 0.2) ** 2)) + 10.0 * np.clip(t - 0.75, 0, 1) * 4)
    column = np.sqrt((box.x / half_width) ** 2 + ((box.y - 12.0 * sy) / (76.0 * sy)) ** 2)
    distance = np.asarray((column - 1) * half_width, dtype=np.float32)
    _include(distance, box, spine.box, spine.to_column - np.float32(4.0))
    sac_box = heart.make_box(canvas, 26.0)
    _include(distance, box, sac_box, heart.compute_sac(sac_box) - np.float32(1.0))
    for tube in tubes:
        tube_box = tube.make_box(canvas.grid, 8.0)
        if not tube_box.is_empty:
            _include(distance, box, tube_box, tube.compute_distance(tube_box) - np.float32(3.0))
    return distance


def _include(distance: Floats, box: Box, part: Box, values: Floats) -> None:
    """Take the lesser distance where two boxes overlap."""
    view = distance[box.find_window(part)]
    np.minimum(view, values[part.find_window(box)], out=view)


def _number_lobes(box: Box, plan: BodyPlan) -> np.ndarray:
    sy, sz = plan.scale_xyz[1:]
    is_lower = box.z / sz < 84.0 + 1.05 * box.y / sy
    right = np.where(is_lower, LOWER_RIGHT, np.where(box.z / sz < 96.0, MIDDLE_RIGHT, UPPER_RIGHT))
    left = np.where(is_lower, LOWER_LEFT, UPPER_LEFT)
    return np.where(box.x < 0, right, left).astype(np.uint8)
