"""Findings of the heart: cardiomegaly, pericardial effusion, calcified coronary arteries."""

from __future__ import annotations

import numpy as np

from phantom.anatomy.heart import make_coronaries
from phantom.anatomy.plan import BodyPlan
from phantom.findings.calcium import paint_grains
from phantom.findings.finding import Extent, Site


def enlarge_heart(plan: BodyPlan, severity: float, _rng: np.random.Generator) -> BodyPlan:
    """Make the heart 1.15 to 1.45 times as wide."""
    return plan.with_changes(heart_scale=plan.heart_scale * (1.15 + 0.3 * severity))


def measure_heart(site: Site) -> Extent:
    """Return the extent of the enlarged heart, which the plan has painted already."""
    heart = site.chest.heart
    box = heart.make_box(site.canvas, heart.epicardial_fat_mm + 12).intersect(site.chest.trunk.box)
    inside = np.maximum(heart.compute_sac(box), site.chest.trunk.take_cage(box)) < 0
    return Extent.join([Extent.around(site.canvas.grid, box, inside)])


def paint_pericardial_effusion(site: Site) -> Extent:
    """Fluid around the heart, 5 to 26 mm, more behind and below; it gives way to bone, vessels and bowel."""
    heart = site.chest.heart
    thickness = site.grade(5.0, 26.0)
    box = heart.make_box(site.canvas, heart.epicardial_fat_mm + 1.4 * thickness + 8).intersect(site.chest.trunk.box)
    sac = heart.compute_sac(box)
    below = np.clip(0.85 + (box.y - heart.centre[1]) / 160.0 - (box.z - heart.centre[2]) / 200.0, 0.45, 1.4)
    outer = sac - thickness * below
    floor = np.float32(-14.0 * site.chest.plan.scale_xyz[2]) - box.z
    distance = np.maximum(np.maximum(outer, -sac), floor)
    coverage = site.canvas.cover(np.asarray(distance, dtype=np.float32))
    is_soft = np.clip((-10.0 - site.canvas.hu[box.slices]) / 40.0, 0, 1)
    in_cage = site.canvas.cover(site.chest.trunk.take_cage(box))
    return Extent.join([site.blend(box, coverage * is_soft.astype(np.float32) * in_cage, site.draw(2, 20))])


def paint_coronary_calcification(site: Site) -> Extent:
    """Grains of calcium along the coronary arteries, from a few to long casts."""
    arteries = list(make_coronaries(site.chest.heart).values())
    chosen = arteries[: 1 + round(site.grade(0, 2))]
    places = np.vstack([artery.points[1:-1] for artery in chosen])
    count = round(site.grade(3, 26))
    picked = places[site.rng.integers(len(places), size=count)] + site.rng.normal(0, 1.2, (count, 3))
    return paint_grains(site, picked, (site.grade(1.3, 2.2), site.grade(1.9, 3.4)), (site.grade(300, 600), 1000.0))
