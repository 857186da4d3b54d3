"""Normal variants of the anatomy: azygos lobe and gynaecomastia."""

from __future__ import annotations

import numpy as np

from phantom.anatomy.plan import BodyPlan
from phantom.canvas import Point
from phantom.findings.finding import Site
from phantom.shapes import make_tube

_VEIN_PATH: tuple[Point, ...] = ((-33, -16, 148), (-50, 4, 166), (-46, 30, 164), (-16, 54, 146))
_VEIN_MM = 4.5
_FISSURE_HALF_MM = 0.7
_FISSURE_FOOT_MM = 162.0
_PLEURA_HU = -300.0


def paint_azygos_lobe(site: Site) -> None:
    """Paint a lobe that the azygos vein cuts off: the vein in an arch through the right apex, the fissure above it."""
    plan = site.chest.plan
    _paint_fissure(site)
    vein = make_tube(plan.place_all(*_VEIN_PATH), _VEIN_MM * plan.scale, steps=4)
    box = vein.make_box(site.canvas.grid).intersect(site.chest.lungs.box)
    coverage = site.canvas.cover(vein.compute_distance(box)) * site.cover_lungs(box)
    site.canvas.blend(box, coverage, plan.blood_hu)


def _paint_fissure(site: Site) -> None:
    """Paint the four layers of pleura: a sheet from the vein to the apex that bulges to the side."""
    sx, sy, sz = site.chest.plan.scale_xyz
    apex = site.canvas.grid.make_box((-np.inf, -10 * sy, _FISSURE_FOOT_MM * sz), (0.0, 50 * sy, np.inf))
    box = site.make_side_box(-1).intersect(apex)
    if box.is_empty:
        return
    bulge = 16.0 * sx * (1 - ((box.y / sy - 20.0) / 34.0) ** 2)
    distance = np.abs(box.x + 34.0 * sx + bulge + 0 * box.z) - np.float32(_FISSURE_HALF_MM)
    coverage = site.canvas.cover(np.asarray(distance, dtype=np.float32)) * site.cover_lungs(box)
    site.canvas.blend(box, coverage, _PLEURA_HU)


def grow_breasts(plan: BodyPlan, rng: np.random.Generator) -> BodyPlan:
    """Give a man glands behind the nipples, with the fat around them."""
    return plan.with_changes(breast_mm=float(rng.uniform(13.0, 20.0)))
