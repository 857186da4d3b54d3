"""Findings of the skeleton: fractured ribs and a compressed vertebra."""

from __future__ import annotations

import numpy as np

from phantom.anatomy.plan import BodyPlan
from phantom.anatomy.skeleton import RIB_LEFT_1, RIB_RIGHT_1
from phantom.findings.finding import Extent, Site
from phantom.shapes import Ellipsoid


def compress_vertebra(plan: BodyPlan, severity: float, rng: np.random.Generator) -> BodyPlan:
    """Take 30 to 75 percent of the height of the front of one vertebra, T6 to T12."""
    return plan.with_changes(compressed_vertebra=int(rng.integers(6, 13)), compression=0.30 + 0.45 * severity)


def measure_vertebra(site: Site) -> Extent:
    """Return the extent of the compressed vertebra, which the plan has painted already."""
    plan = site.chest.plan
    assert plan.compressed_vertebra is not None
    z = plan.find_vertebra_z(plan.compressed_vertebra)
    y = float(plan.compute_spine_y(np.asarray([z], dtype=np.float32))[0])
    half = 12.0 * plan.scale_xyz[2]
    return Extent((-20.0, y - 17.0, z - half), (20.0, y + 17.0, z + half))


def paint_rib_fracture(site: Site) -> Extent:
    """One to six neighbouring ribs of one side, broken beside the chest: a gap, callus, swelling."""
    first = RIB_LEFT_1 if site.draw_side() > 0 else RIB_RIGHT_1
    top = int(site.rng.integers(3, 6))
    extents = []
    for number in range(top, top + 1 + round(site.grade(0, 4))):
        place = _find_rib(site, first + number - 1)
        if place is not None:
            extents.append(_break_rib(site, place))
    return Extent.join(extents)


def _find_rib(site: Site, label: int) -> np.ndarray | None:
    box = site.chest.trunk.box
    z, y, x = np.nonzero(site.canvas.labels[box.slices] == label)
    if not len(x):
        return None
    # Beside the chest: the part of the rib that is farthest from the midline, a little to the back.
    lateral = np.argsort(-np.abs(box.x.ravel()[x]) + 0.15 * np.abs(box.y.ravel()[y] - 20))[: max(3, len(x) // 20)]
    chosen = lateral[int(site.rng.integers(len(lateral)))]
    return np.asarray([box.x.ravel()[x[chosen]], box.y.ravel()[y[chosen]], box.z.ravel()[z[chosen]]])


def _break_rib(site: Site, place: np.ndarray) -> Extent | None:
    middle = (float(place[0]), float(place[1]), float(place[2]))
    swelling = Ellipsoid(middle, (site.grade(8, 12), site.grade(12, 18), 11.0))
    box = swelling.make_box(site.canvas.grid)
    cover = site.canvas.cover
    extent = site.blend(box, cover(swelling.compute_distance(box)) * (site.canvas.hu[box.slices] < 200), 60.0)
    callus = Ellipsoid(middle, (site.grade(5.0, 7.0), site.grade(7, 11), 8.0))
    site.blend(box, cover(callus.compute_distance(box)), 420.0)
    gap = np.maximum(np.abs(box.y - np.float32(middle[1])) - np.float32(1.4), callus.compute_distance(box))
    site.blend(box, cover(gap), 45.0)
    return extent
