"""The trunk: table, skin, fat, muscles, breasts, and the pleural cage that everything inside is measured from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from phantom.anatomy.plan import BODY_EXPONENT, CAGE_EXPONENT, BodyPlan
from phantom.canvas import Box, Canvas, Floats
from phantom.fields import make_smooth_field
from phantom.shapes import Ellipsoid, make_rotation

SKIN_HU, FAT_HU, MUSCLE_HU = 10.0, -105.0, 52.0
_SKIN_MM = 2.2
_WALL_MM = 10.0


@dataclass(frozen=True)
class Trunk:
    """Signed distances to the skin and to the pleural surface on a box around the body."""

    box: Box
    to_skin: Floats
    to_cage: Floats

    def take_cage(self, box: Box) -> Floats:
        """Return the distances to the cage on a box that lies within this one."""
        return self.to_cage[self.box.find_window(box)]


def measure_trunk(canvas: Canvas, plan: BodyPlan, rng: np.random.Generator) -> Trunk:
    """Compute the distances that the layers of the trunk are painted by."""
    half_width, half_depth, middle = plan.compute_body(canvas.grid.z)
    reach_x, reach_y = float(half_width.max()) + 6, float(half_depth.max()) + 6
    low = (-reach_x, float(middle.min()) - reach_y, -np.inf)
    box = canvas.grid.make_box(low, (reach_x, float(middle.max()) + reach_y, np.inf))
    wobble = make_smooth_field(box, 55.0, rng)
    to_skin = compute_oval_distance(box, plan.compute_body(box.z), BODY_EXPONENT)
    to_skin += wobble * np.float32(1.2)
    to_cage = compute_oval_distance(box, plan.compute_cage(box.z), CAGE_EXPONENT)
    to_cage += wobble * np.float32(2.0)
    return Trunk(box, to_skin, to_cage)


def compute_oval_distance(box: Box, oval: tuple[Floats, Floats, Floats], exponent: float) -> Floats:
    """Return distances to a stack of superellipses, measured along the radius of each slice."""
    half_width, half_depth, middle = oval
    depth = box.y - middle
    outline = (np.abs(depth) / half_depth) ** exponent + (np.abs(box.x) / half_width) ** exponent
    radius = np.sqrt(depth * depth + box.x * box.x)
    np.maximum(outline, np.float32(1e-3), out=outline)
    np.power(outline, np.float32(-1.0 / exponent), out=outline)
    return np.asarray(radius * (1 - outline), dtype=np.float32)


def paint_trunk(canvas: Canvas, plan: BodyPlan, trunk: Trunk, rng: np.random.Generator) -> None:
    """Paint breasts, skin, fat, and the muscles of the chest wall."""
    box = trunk.box
    _paint_breasts(canvas, plan, rng)
    canvas.paint(box, trunk.to_skin, SKIN_HU)
    canvas.paint(box, trunk.to_skin + np.float32(_SKIN_MM), FAT_HU)
    thickness = _compute_muscle_thickness(box, plan)
    canvas.paint(box, np.maximum(trunk.to_cage - thickness, trunk.to_skin + np.float32(5.0)), MUSCLE_HU)
    # Between the ribs' layer and the outer muscles lies a sheet of fat.
    sheet = np.abs(trunk.to_cage - np.float32(_WALL_MM + 2.5)) - np.float32(1.0)
    canvas.paint(box, np.maximum(sheet, trunk.to_skin + np.float32(6.0)), FAT_HU, strength=0.75)


def paint_table(canvas: Canvas, plan: BodyPlan) -> None:
    """Paint the patient table: a thin curved shell filled with foam, below the back."""
    grid = canvas.grid
    _, half_depth, middle = plan.compute_body(np.asarray([0.4 * plan.apex_mm], dtype=np.float32))
    back = float(half_depth[0] + middle[0]) + 3.0
    box = grid.make_box((-215.0, back - 60, -np.inf), (215.0, back + 40, np.inf))
    upper = back - (box.x / 205.0) ** 2 * 42.0
    to_top = box.y - upper
    inside = np.maximum(np.abs(to_top - 13.0) - 13.0, np.abs(box.x) - 205.0) + 0 * box.z
    canvas.paint(box, inside, -180.0)
    canvas.paint(box, inside + np.float32(2.0), -960.0)


def _paint_breasts(canvas: Canvas, plan: BodyPlan, rng: np.random.Generator) -> None:
    if not plan.breast_mm:
        return
    _, half_depth, middle = plan.compute_body(np.asarray([0.42 * plan.apex_mm], dtype=np.float32))
    front = float(middle[0] - half_depth[0])
    for side in (-1, 1):
        centre = (side * 78.0 * plan.scale_xyz[0], front + 22.0, 88.0 * plan.scale_xyz[2])
        breast = Ellipsoid(centre, (62.0, 22 + plan.breast_mm, 58.0), make_rotation(yaw_deg=side * 14))
        box = breast.make_box(canvas.grid)
        if box.is_empty:
            continue
        distance = breast.compute_distance(box)
        canvas.paint(box, distance, SKIN_HU)
        canvas.paint(box, distance + np.float32(_SKIN_MM), FAT_HU)
        gland = make_smooth_field(box, 11.0, rng)
        canvas.paint(box, np.maximum(distance + 11.0, 4.0 * (0.9 - gland)), 25.0, strength=0.8)


def _compute_muscle_thickness(box: Box, plan: BodyPlan) -> Floats:
    """Outer muscles: pectorals in front above, serratus and latissimus beside, the back's long muscles behind."""
    t = box.z / np.float32(plan.apex_mm)
    radius = np.sqrt(box.x**2 + box.y**2) + 1.0
    across, behind = np.abs(box.x) / radius, box.y / radius
    strength = 0.45 + 0.75 * plan.muscle
    pectoral = np.exp(-(((t - 0.72) / 0.24) ** 2)) * (np.clip(-behind - 0.25, 0, 1) * np.clip(across, 0.12, 1)) * 34.0
    lateral = np.exp(-(((t - 0.55) / 0.4) ** 2)) * np.clip(across - 0.45, 0, 1) * 26.0
    back = (0.7 + 0.5 * np.exp(-(((t - 0.9) / 0.3) ** 2))) * np.clip(behind - 0.3, 0, 1) * 18.0
    return np.asarray(_WALL_MM + strength * (pectoral + lateral + back), dtype=np.float32)
