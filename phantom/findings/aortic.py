"""Findings of the aorta: aneurysm and calcified plaques."""

from __future__ import annotations

import numpy as np

from phantom.anatomy.great_vessels import make_aorta
from phantom.anatomy.plan import BodyPlan
from phantom.findings.calcium import paint_grains
from phantom.findings.finding import Extent, Site


def widen_aorta(plan: BodyPlan, severity: float, rng: np.random.Generator) -> BodyPlan:
    """Widen the ascending (two of three times) or the descending aorta 1.35 to 2.1 times."""
    site = "ascending" if rng.random() < 0.67 else "descending"
    return plan.with_changes(aneurysm_site=site, aneurysm=0.35 + 0.75 * severity)


def measure_aneurysm(site: Site) -> Extent:
    """Return the extent of the widened part, which the plan has painted already."""
    healthy = make_aorta(site.chest.plan.with_changes(aneurysm_site=None))
    points, radii = site.chest.aorta.points, site.chest.aorta.radii
    wider = np.abs(radii - healthy.radii) > 0.01
    reach = radii[wider, None]
    low, high = (points[wider] - reach).min(axis=0).tolist(), (points[wider] + reach).max(axis=0).tolist()
    return Extent((low[0], low[1], low[2]), (high[0], high[1], high[2]))


def paint_aortic_calcification(site: Site) -> Extent:
    """Plaques in the wall of the arch and the descending aorta."""
    points, radii = site.chest.aorta.points, site.chest.aorta.radii
    inside = (points[:, 2] > site.canvas.grid.z[0] + 4) & (np.arange(len(points)) > 10)
    places, widths = points[inside], radii[inside]
    count = round(site.grade(5, 34))
    chosen = site.rng.integers(len(places), size=count)
    around = site.rng.normal(0, 1, (count, 3))
    around /= np.linalg.norm(around, axis=1, keepdims=True)
    centres = places[chosen] + around * (widths[chosen, None] - 0.8)
    return paint_grains(site, centres, (site.grade(1.6, 2.6), site.grade(2.4, 4.2)), (site.grade(350, 600), 950.0))
