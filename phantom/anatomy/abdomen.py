"""What lies below the diaphragm: liver, spleen, stomach with its bubble of gas, and fat."""

from __future__ import annotations

import numpy as np

from phantom.anatomy.lungs import compute_diaphragm
from phantom.anatomy.plan import BodyPlan
from phantom.anatomy.trunk import MUSCLE_HU, Trunk
from phantom.canvas import Canvas
from phantom.fields import make_smooth_field
from phantom.shapes import Ellipsoid, make_rotation

SPLEEN, LIVER, STOMACH = 1, 5, 6


def paint_abdomen(canvas: Canvas, plan: BodyPlan, trunk: Trunk, rng: np.random.Generator) -> None:
    """Paint the diaphragm's muscle and the organs under it."""
    sx, sy, sz = plan.scale_xyz
    box = canvas.grid.make_box((-170, -130, -np.inf), (170, 130, 6 * sz)).intersect(trunk.box)
    if box.is_empty:
        return
    to_cage = trunk.take_cage(box)
    below = np.maximum(np.asarray((box.z - compute_diaphragm(box, plan)) * 0.8, dtype=np.float32), to_cage)
    canvas.paint(box, np.maximum(np.abs(below + 1.5) - 1.5, to_cage + 1.0), MUSCLE_HU)
    wobble = make_smooth_field(box, 30.0, rng)
    edge = (box.x + 0.45 * box.y - 28.0 * sx) * np.float32(0.9) + wobble * np.float32(4.0)
    liver = np.maximum(np.maximum(below + np.float32(2.0), edge), to_cage + np.float32(1.5))
    behind = np.sqrt((box.x / 44.0) ** 2 + ((box.y - 78.0 * sy) / 48.0) ** 2)
    liver = np.maximum(liver, np.asarray((1 - behind) * 40.0, dtype=np.float32))
    canvas.paint(box, liver, plan.liver_hu, label=LIVER)
    spleen = Ellipsoid((92 * sx, 38 * sy, -48 * sz), (24, 40, 36), make_rotation(yaw_deg=-30))
    distance = np.maximum(spleen.compute_distance(box) + wobble * 2, below + np.float32(2.0))
    canvas.paint(box, distance, plan.liver_hu - 6, label=SPLEEN)
    _paint_stomach(canvas, plan, rng)


def _paint_stomach(canvas: Canvas, plan: BodyPlan, rng: np.random.Generator) -> None:
    sx, sy, sz = plan.scale_xyz
    centre = (56 * sx, -4 * sy, plan.left_dome_mm * sz - 40)
    stomach = Ellipsoid(centre, (34, 40, 30), make_rotation(yaw_deg=25))
    box = stomach.make_box(canvas.grid)
    if box.is_empty:
        return
    distance = stomach.compute_distance(box)
    canvas.paint(box, distance, 40.0, label=STOMACH)
    content = make_smooth_field(box, 8.0, rng) * 14 + np.float32(22)
    canvas.paint(box, distance + np.float32(3.5), content)
    gas = np.maximum(distance + np.float32(4.0), box.y - np.float32(centre[1] + rng.uniform(-22, 5)))
    canvas.paint(box, gas, -990.0)
