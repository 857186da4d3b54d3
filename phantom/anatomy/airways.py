"""Trachea and main bronchi with their walls, and the oesophagus behind them."""

from __future__ import annotations

from phantom.anatomy.plan import BodyPlan
from phantom.canvas import Canvas, Point
from phantom.shapes import Tube, make_tube

TRACHEA, OESOPHAGUS = 16, 15
LUMEN_HU, WALL_HU = -985.0, 20.0


def make_airways(plan: BodyPlan) -> list[Tube]:
    """Return trachea, main bronchi and their first branches up to the hila."""
    s = plan.scale
    carina = (1.0, 27.0, 138.0)
    paths: list[tuple[list[Point], list[float]]] = [
        ([(0, 6, 320), (0, 12, 230), (-1, 18, 185), carina], [8.4, 8.6, 8.8, 8.8]),
        ([carina, (-18, 28, 122), (-38, 28, 108)], [8.0, 7.4, 6.8]),
        ([carina, (20, 31, 122), (46, 35, 104)], [7.4, 6.6, 6.0]),
        ([(-26, 28, 116), (-46, 22, 124)], [5.0, 3.6]),
        ([(-38, 28, 108), (-46, 24, 84), (-54, 20, 66)], [5.6, 4.6, 3.6]),
        ([(-44, 25, 88), (-54, 44, 62)], [4.4, 3.4]),
        ([(46, 35, 104), (58, 24, 112)], [4.8, 3.6]),
        ([(46, 35, 104), (54, 42, 78), (60, 48, 58)], [5.2, 4.2, 3.4]),
    ]
    return [make_tube(plan.place_all(*points), [r * s for r in radii]) for points, radii in paths]


def make_oesophagus(plan: BodyPlan) -> Tube:
    """Return the oesophagus from the neck to the stomach."""
    points: list[Point] = [
        (3, 24, 320),
        (3, 32, 220),
        (4, 42, 150),
        (4, 44, 100),
        (6, 42, 50),
        (12, 32, 5),
        (26, 20, -14),
    ]
    return make_tube(plan.place_all(*points), 6.8 * plan.scale, steps=3)


def paint_airways(canvas: Canvas, plan: BodyPlan) -> None:
    """Paint the oesophagus, then all walls, then all lumina, so that branches stay open."""
    make_oesophagus(plan).paint(canvas, 38.0, label=OESOPHAGUS)
    airways = make_airways(plan)
    for tube in airways:
        tube.paint(canvas, WALL_HU, grow_mm=1.5)
    for tube in airways:
        tube.paint(canvas, LUMEN_HU, label=TRACHEA)
