"""The trunk: table, skin, fat, muscles, breasts, and the pleural cage that everything inside is measured from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from phantom.anatomy.plan import BODY_EXPONENT, CAGE_EXPONENT, BodyPlan
from phantom.canvas import Box, Canvas, Floats
from phantom.fields import make_smooth_field
from phantom.shapes import Ellipsoid, join_smoothly, make_rotation

SKIN_HU, FAT_HU, MUSCLE_HU = 10.0, -105.0, 52.0
_SKIN_MM = 2.2
_WALL_MM = 10.0


@dataclass(frozen=True)
class Trunk:
    """Signed distances on a box around the body: to the trunk's outline, to the skin, and to the pleural surface.

    The skin is the outline with the breasts; muscles are measured from the outline.
    """

    box: Box
    to_outline: Floats
    to_skin: Floats
    to_cage: Floats

    def take_cage(self, box: Box) -> Floats:
        """Return the distances to the cage on a box that lies within this one."""
        return self.to_cage[self.box.find_window(box)]


def measure_trunk(canvas: Canvas, plan: BodyPlan, rng: np.random.Generator) -> Trunk:
    """Compute the distances that the layers of the trunk are painted by."""
    half_width, half_depth, middle = plan.compute_body(canvas.grid.z)
    reach_x, reach_y = float(half_width.max()) + 6, float(half_depth.max()) + 6
    low = (-reach_x, float(middle.min()) - reach_y - plan.breast_mm, -np.inf)
    box = canvas.grid.make_box(low, (reach_x, float(middle.max()) + reach_y, np.inf))
    wobble = make_smooth_field(box, 55.0, rng)
    to_outline = compute_oval_distance(box, plan.compute_body(box.z), BODY_EXPONENT)
    to_outline += wobble * np.float32(1.2)
    to_cage = compute_oval_distance(box, plan.compute_cage(box.z), CAGE_EXPONENT)
    to_cage += wobble * np.float32(2.0)
    return Trunk(box, to_outline, _raise_breasts(box, to_outline, plan, canvas), to_cage)


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
    canvas.paint(box, trunk.to_skin, SKIN_HU)
    canvas.paint(box, trunk.to_skin + np.float32(_SKIN_MM), FAT_HU)
    to_muscle = trunk.to_outline + _compute_fat_thickness(box, plan)
    canvas.paint(box, to_muscle, MUSCLE_HU)
    # Sheets of fat between muscles: one around the ribs' layer, the others where a smooth field is near zero.
    sheets = np.abs(make_smooth_field(box, 24.0, rng)) * np.float32(9.0) - np.float32(1.0)
    np.minimum(sheets, np.abs(trunk.to_cage - np.float32(_WALL_MM + 2.5)) - np.float32(1.0), out=sheets)
    np.maximum(sheets, np.float32(_WALL_MM) - trunk.to_cage, out=sheets)
    canvas.paint(box, np.maximum(sheets, to_muscle), FAT_HU, strength=0.8)
    _paint_glands(canvas, plan, rng)


def paint_cavity(canvas: Canvas, plan: BodyPlan, trunk: Trunk) -> None:
    """Fill the cage with the fat that lies between organs; above the lungs the neck's muscles take its place."""
    neck = np.clip((trunk.box.z / np.float32(plan.apex_mm) - 0.86) / 0.12, 0, 1)
    canvas.paint(trunk.box, trunk.to_cage, FAT_HU + 15 + neck * (MUSCLE_HU - FAT_HU - 45))


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


def _make_breasts(plan: BodyPlan) -> list[Ellipsoid]:
    if not plan.breast_mm:
        return []
    _, half_depth, middle = plan.compute_body(np.asarray([0.42 * plan.apex_mm], dtype=np.float32))
    front, (sx, _, sz) = float(middle[0] - half_depth[0]), plan.scale_xyz
    radii = (64.0, 26.0 + 0.8 * plan.breast_mm, 60.0)
    return [
        Ellipsoid((side * 76.0 * sx, front + 24.0, 84.0 * sz), radii, make_rotation(yaw_deg=side * 22))
        for side in (-1, 1)
    ]


def _raise_breasts(trunk_box: Box, to_skin: Floats, plan: BodyPlan, canvas: Canvas) -> Floats:
    """Return the skin with the breasts, joined smoothly."""
    surface = to_skin.copy()
    for breast in _make_breasts(plan):
        box = breast.make_box(canvas.grid, 14.0).intersect(trunk_box)
        window = trunk_box.find_window(box)
        surface[window] = join_smoothly(surface[window], breast.compute_distance(box), 22.0)
    return surface


def _paint_glands(canvas: Canvas, plan: BodyPlan, rng: np.random.Generator) -> None:
    for breast in _make_breasts(plan):
        box = breast.make_box(canvas.grid)
        if not box.is_empty:
            gland = make_smooth_field(box, 11.0, rng)
            distance = np.maximum(breast.compute_distance(box) + np.float32(12.0), 4.0 * (0.8 - gland))
            canvas.paint(box, distance, 25.0, strength=0.8)


def _compute_fat_thickness(box: Box, plan: BodyPlan) -> Floats:
    """Fat under the skin: thicker in front below and beside, thinner over the shoulders and the spine."""
    t = np.clip(box.z / np.float32(plan.apex_mm), -0.4, 1.3)
    radius = np.sqrt(box.x**2 + box.y**2) + 1.0
    ahead = np.clip(-box.y / radius, 0, 1)
    factor = 1.0 + (0.55 - 0.7 * t) * ahead * ahead - 0.3 * np.clip(t - 0.6, 0, 1)
    return np.asarray(_SKIN_MM + 1.0 + plan.fat_mm * factor, dtype=np.float32)
