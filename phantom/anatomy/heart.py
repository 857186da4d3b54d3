"""The heart: four chambers in one sac, fat between chambers and sac, coronary arteries in that fat."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from phantom.anatomy.plan import BodyPlan
from phantom.anatomy.trunk import Trunk
from phantom.canvas import Box, Canvas, Floats, Point
from phantom.shapes import Ellipsoid, Tube, join_smoothly, make_rotation, make_tube

HEART = 51
EPICARDIAL_FAT_HU, PERICARDIUM_HU, MYOCARDIUM_HU = -88.0, 15.0, 48.0
# The heart grows about the point where the great vessels hold it, so a large one reaches down and to the left.
_ROOT = (-2.0, -16.0, 76.0)


@dataclass(frozen=True)
class Heart:
    """Chambers by name, in the patient's space."""

    chambers: dict[str, Ellipsoid]
    epicardial_fat_mm: float

    @property
    def centre(self) -> Point:
        """The middle of the chambers, weighted by volume."""
        volumes = [float(np.prod(chamber.radii)) for chamber in self.chambers.values()]
        centres = [chamber.centre for chamber in self.chambers.values()]
        x, y, z = np.average(np.asarray(centres), axis=0, weights=volumes)
        return (float(x), float(y), float(z))

    @property
    def bounds(self) -> tuple[Point, Point]:
        """Corners (x, y, z) of the box of all chambers."""
        low = np.min([np.subtract(c.centre, c.radii) for c in self.chambers.values()], axis=0)
        high = np.max([np.add(c.centre, c.radii) for c in self.chambers.values()], axis=0)
        return (float(low[0]), float(low[1]), float(low[2])), (float(high[0]), float(high[1]), float(high[2]))

    def make_box(self, canvas: Canvas, margin_mm: float) -> Box:
        """Return the part of the grid that the heart and a margin around it take."""
        low, high = self.bounds
        return canvas.grid.make_box(np.subtract(low, margin_mm), np.add(high, margin_mm))

    def compute_chambers(self, box: Box) -> Floats:
        """Return distances to the surface of the muscle: the chambers, rounded where they meet."""
        union: Floats | None = None
        for chamber in self.chambers.values():
            distance = chamber.compute_distance(box)
            union = distance if union is None else join_smoothly(union, distance, 9.0)
        assert union is not None
        return union

    def compute_sac(self, box: Box) -> Floats:
        """Return distances to the pericardium, which is smoother than the chambers."""
        union: Floats | None = None
        for chamber in self.chambers.values():
            distance = chamber.compute_distance(box)
            union = distance if union is None else join_smoothly(union, distance, 26.0)
        assert union is not None
        return union - np.float32(self.epicardial_fat_mm)


def make_heart(plan: BodyPlan) -> Heart:
    """Lay out the chambers for a patient."""
    turn = make_rotation(yaw_deg=-38 + plan.heart_turn_deg, pitch_deg=18)
    reference = {
        "left_ventricle": Ellipsoid((35, -17, 30), (43, 35, 38), turn),
        "right_ventricle": Ellipsoid((5, -47, 28), (44, 28, 37), turn),
        "right_atrium": Ellipsoid((-29, -19, 42), (25, 30, 36)),
        "left_atrium": Ellipsoid((5, 15, 58), (36, 22, 26)),
    }
    root = plan.place(*_ROOT)
    chambers = {}
    for name, chamber in reference.items():
        size = plan.scale
        radii = (chamber.radii[0] * size, chamber.radii[1] * size, chamber.radii[2] * size)
        placed = Ellipsoid(plan.place(*chamber.centre), radii, chamber.rotation)
        chambers[name] = placed.scale(plan.heart_scale, root)
    return Heart(chambers, plan.epicardial_fat_mm)


def make_coronaries(heart: Heart) -> dict[str, Tube]:
    """Return the left anterior descending, circumflex and right coronary arteries, in the grooves of the heart."""
    left, right = (np.asarray(heart.chambers[name].centre) for name in ("left_ventricle", "right_ventricle"))
    top = _move(np.asarray(heart.chambers["left_atrium"].centre), 4, -22, 10)
    groove = (left + right) / 2
    between = (np.asarray(heart.chambers["right_atrium"].centre) + right) / 2
    descending = [_move(top, 8, -10, 0), *(_move(groove, *by) for by in ((14, -16, 22), (30, -22, 6), (38, -22, -18)))]
    circumflex = [_move(top, 8, -6, 0), _move(left, 8, 16, 26), _move(left, 16, 30, 6)]
    right_artery = [_move(top, -14, -14, -2)]
    right_artery += [_move(between, *by) for by in ((-6, -16, 12), (-8, -12, -10), (0, 10, -30))]
    return {
        "left_anterior_descending": _trace(descending),
        "circumflex": _trace(circumflex),
        "right_coronary": _trace(right_artery),
    }


def paint_heart(canvas: Canvas, plan: BodyPlan, heart: Heart, trunk: Trunk) -> None:
    """Paint pericardium, epicardial fat, muscle, blood, and the coronary arteries."""
    box = heart.make_box(canvas, heart.epicardial_fat_mm + 12).intersect(trunk.box)
    if box.is_empty:
        return
    sac, muscle = heart.compute_sac(box), heart.compute_chambers(box)
    floor = np.float32(-8.0 * plan.scale_xyz[2]) - box.z
    sac = np.maximum(np.maximum(sac, floor), trunk.take_cage(box) + np.float32(2.0))
    canvas.paint(box, sac, PERICARDIUM_HU, label=HEART)
    canvas.paint(box, sac + np.float32(1.8), EPICARDIAL_FAT_HU)
    canvas.paint(box, np.maximum(muscle, sac + np.float32(2.0)), MYOCARDIUM_HU)
    for name, chamber in heart.chambers.items():
        wall = 10.0 if name == "left_ventricle" else 3.5
        inside = chamber.compute_distance(box) + np.float32(wall)
        canvas.paint(box, np.maximum(inside, sac + np.float32(wall)), plan.blood_hu)
    for artery in make_coronaries(heart).values():
        artery.paint(canvas, plan.blood_hu)


def _move(point: np.ndarray, x: float, y: float, z: float) -> np.ndarray:
    return np.asarray(point + np.asarray((x, y, z)))


def _trace(points: list[np.ndarray]) -> Tube:
    path = [(float(p[0]), float(p[1]), float(p[2])) for p in points]
    return make_tube(path, list(np.linspace(2.0, 1.3, len(path))), steps=5)
