"""Findings of the mediastinum: enlarged lymph nodes and hiatal hernia."""

from __future__ import annotations

import numpy as np

from phantom.anatomy.airways import TRACHEA
from phantom.anatomy.great_vessels import AORTA
from phantom.canvas import Box, Floats, Point
from phantom.fields import make_smooth_field
from phantom.findings.finding import Extent, Site
from phantom.shapes import Ellipsoid, make_rotation

# Stations of the IASLC map: 4R, 5, 7, 10R, 10L, 6, 2R, 2L.
_STATIONS: tuple[Point, ...] = (
    (-18, 4, 152),
    (30, -2, 138),
    (4, 32, 118),
    (-50, 8, 116),
    (54, 12, 112),
    (12, -42, 150),
    (-20, 2, 180),
    (20, 14, 178),
)


def paint_lymphadenopathy(site: Site) -> Extent:
    """Three to eight enlarged nodes, 12 to 32 mm across."""
    count = round(site.grade(3, 8))
    extents = []
    for index in site.rng.permutation(len(_STATIONS))[:count]:
        x, y, z = np.asarray(site.chest.plan.place(*_STATIONS[index])) + site.rng.normal(0, 2.5, 3)
        radii = site.rng.uniform(6.0, 8.0, 3) * site.grade(1.0, 2.0)
        node = Ellipsoid((x, y, z), (radii[0], radii[1], radii[2]), make_rotation(yaw_deg=site.draw(-60, 60)))
        box = node.make_box(site.canvas.grid)
        coverage = site.canvas.cover(node.compute_distance(box)) * _may_give_way(site, box)
        extents.append(site.blend(box, coverage, site.draw(35, 60)))
    return Extent.join(extents)


def paint_hiatal_hernia(site: Site) -> Extent:
    """Stomach behind the heart, above the diaphragm, 32 to 90 mm wide, with gas above its content."""
    size = site.grade(0.42, 1.15)
    x, y, z = site.chest.plan.place(14.0, 34.0, 8.0)
    radii = (38.0 * size, 30.0 * size, 40.0 * size)
    sac = Ellipsoid((x + site.draw(-6, 6), y, z + 0.5 * radii[2]), radii, make_rotation(yaw_deg=site.draw(-20, 20)))
    box = sac.make_box(site.canvas.grid, 2.0)
    distance, free = sac.compute_distance(box), _may_give_way(site, box)
    extent = site.blend(box, site.canvas.cover(distance) * free, 42.0)
    content = 25.0 + 16.0 * make_smooth_field(box, 8.0, site.rng)
    inner = distance + np.float32(3.0)
    site.blend(box, site.canvas.cover(inner) * free, content)
    gas = np.maximum(inner, box.y - np.float32(y + site.draw(-0.6, 0.3) * radii[1]))
    site.blend(box, site.canvas.cover(gas) * free, -985.0)
    return Extent.join([extent])


def _may_give_way(site: Site, box: Box) -> Floats:
    """Return 1 where tissue can be pushed aside: not bone, aorta or airway."""
    labels, hu = site.canvas.labels[box.slices], site.canvas.hu[box.slices]
    is_fixed = (labels == TRACHEA) | (labels == AORTA) | ((labels >= 25) & (labels <= 50)) | (hu > 250)
    return np.where(is_fixed, 0.0, 1.0).astype(np.float32)
