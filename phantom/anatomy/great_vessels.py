"""The vessels of the mediastinum: aorta and its branches, pulmonary arteries, caval and brachiocephalic veins."""

from __future__ import annotations

from collections.abc import Mapping

from phantom.anatomy.plan import BodyPlan
from phantom.canvas import Canvas, Point
from phantom.shapes import Tube, make_tube

AORTA, CAVA_SUPERIOR = 52, 62
_AORTA_PATH: tuple[tuple[Point, float], ...] = (
    ((0, -18, 74), 15.5),
    ((-16, -24, 92), 16.5),
    ((-21, -26, 114), 16.0),
    ((-19, -18, 140), 15.0),
    ((-6, -4, 155), 13.8),
    ((10, 14, 158), 13.2),
    ((22, 32, 148), 12.8),
    ((27, 46, 124), 12.5),
    ((27, 49, 85), 12.2),
    ((24, 49, 40), 11.8),
    ((15, 44, 0), 11.2),
    ((6, 38, -45), 10.6),
    ((3, 34, -100), 10.0),
)
# Points of the path that an aneurysm widens, by how much of it each takes.
ANEURYSM_SITES: Mapping[str, Mapping[int, float]] = {
    "ascending": {0: 0.5, 1: 1.0, 2: 1.0, 3: 0.5},
    "descending": {6: 0.3, 7: 0.8, 8: 1.0, 9: 0.7, 10: 0.3},
}
_BRANCHES: Mapping[str, tuple[tuple[tuple[Point, float], ...], int | None]] = {
    "brachiocephalic_trunk": ((((-10, -8, 154), 6.5), ((-20, -4, 182), 6.5), ((-28, 2, 215), 5.5)), 54),
    "left_carotid": ((((2, 4, 160), 4.2), ((14, 2, 190), 4.0), ((24, 6, 240), 4.0), ((24, 8, 300), 3.5)), 58),
    "right_carotid": ((((-26, 0, 208), 4.0), ((-26, 6, 250), 4.0), ((-24, 8, 300), 3.5)), 57),
    "left_subclavian": ((((14, 18, 158), 5.2), ((24, 18, 190), 5.0), ((42, 14, 222), 4.5), ((95, 30, 236), 4.0)), 56),
    "right_subclavian": ((((-26, 2, 212), 5.0), ((-50, 10, 228), 4.5), ((-100, 30, 238), 4.0)), 55),
}
_PULMONARY: Mapping[str, tuple[tuple[Point, float], ...]] = {
    "trunk": (((12, -46, 80), 13.0), ((17, -34, 96), 13.5), ((20, -16, 110), 12.0)),
    "left": (((20, -16, 110), 11.5), ((34, 2, 118), 10.5), ((46, 16, 114), 9.0)),
    "right": (((16, -14, 108), 11.0), ((-6, -6, 108), 10.5), ((-30, 2, 106), 10.0), ((-46, 8, 102), 8.5)),
}
_PULMONARY_VEINS: tuple[tuple[Point, Point, float], ...] = (
    ((-20, 12, 64), (-46, 10, 76), 6.0),
    ((-20, 18, 56), (-44, 28, 52), 6.0),
    ((28, 14, 66), (48, 8, 82), 6.0),
    ((28, 20, 58), (46, 30, 52), 6.0),
)
_CAVAL: Mapping[str, tuple[tuple[tuple[Point, float], ...], int | None]] = {
    "superior_cava": ((((-31, -18, 158), 8.5), ((-33, -16, 120), 9.5), ((-31, -18, 72), 10.5)), CAVA_SUPERIOR),
    "left_brachiocephalic": ((((40, -22, 205), 6.0), ((14, -34, 182), 6.5), ((-28, -20, 160), 7.5)), 59),
    "right_brachiocephalic": ((((-44, -14, 212), 6.0), ((-34, -18, 185), 7.0), ((-31, -18, 158), 8.0)), 60),
    "inferior_cava": ((((-24, 2, 26), 12.0), ((-22, 10, 0), 11.5), ((-20, 20, -40), 11.0), ((-18, 26, -100), 11)), 63),
}


def make_aorta(plan: BodyPlan) -> Tube:
    """Return the aorta, with the aneurysm that the plan asks for."""
    shares = ANEURYSM_SITES[plan.aneurysm_site] if plan.aneurysm_site else {}
    wider = {point: 1 + plan.aneurysm * share for point, share in shares.items()}
    return _make(plan, _AORTA_PATH, plan.aorta_scale, wider)


def make_pulmonary_arteries(plan: BodyPlan) -> dict[str, Tube]:
    """Return the pulmonary trunk and its two arteries up to the hila."""
    return {name: _make(plan, path) for name, path in _PULMONARY.items()}


def make_pulmonary_veins(plan: BodyPlan) -> list[Tube]:
    """Return the four pulmonary veins between the left atrium and the hila."""
    return [_make(plan, ((start, radius), (end, radius))) for start, end, radius in _PULMONARY_VEINS]


def make_caval_veins(plan: BodyPlan) -> dict[str, Tube]:
    """Return the great veins."""
    return {name: _make(plan, path) for name, (path, _) in _CAVAL.items()}


def make_branches(plan: BodyPlan) -> dict[str, Tube]:
    """Return the arteries of the arch."""
    return {name: _make(plan, path) for name, (path, _) in _BRANCHES.items()}


def paint_great_vessels(canvas: Canvas, plan: BodyPlan, aorta: Tube) -> None:
    """Paint all of them: a thin wall is not seen without contrast, so each is blood only."""
    for tube in (*make_pulmonary_arteries(plan).values(), *make_pulmonary_veins(plan)):
        tube.paint(canvas, plan.blood_hu)
    for name, tube in make_caval_veins(plan).items():
        tube.paint(canvas, plan.blood_hu, label=_CAVAL[name][1])
    for name, tube in make_branches(plan).items():
        tube.paint(canvas, plan.aorta_hu, label=_BRANCHES[name][1])
    aorta.paint(canvas, plan.aorta_hu, label=AORTA)


def _make(
    plan: BodyPlan,
    path: tuple[tuple[Point, float], ...],
    scale: float = 1.0,
    extra: Mapping[int, float] | None = None,
) -> Tube:
    points = [plan.place(*point) for point, _ in path]
    radii = [r * plan.scale * scale * (extra or {}).get(i, 1.0) for i, (_, r) in enumerate(path)]
    return make_tube(points, radii, steps=4 if len(path) > 2 else 0)
