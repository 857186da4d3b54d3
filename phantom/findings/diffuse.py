"""Findings spread over the lung: ground glass, emphysema, fibrosis, mosaic attenuation, bronchiectasis."""

from __future__ import annotations

import numpy as np

from phantom.fields import make_smooth_field
from phantom.findings.finding import Extent, Site
from phantom.shapes import Ellipsoid, Tube, make_tube


def paint_ground_glass(site: Site) -> Extent:
    """Hazy patches in both lungs: denser lung in which vessels stay visible."""
    count = round(site.grade(3, 11))
    density = site.grade(170.0, 400.0)
    extents = []
    for centre in site.pick_lung_points(count, (3.0, 35.0), (-0.1, 0.8)):
        radii = site.rng.uniform(14, 26, 3) * site.grade(0.9, 1.5)
        middle = (float(centre[0]), float(centre[1]), float(centre[2]))
        patch = Ellipsoid(middle, (float(radii[0]), float(radii[1]), float(radii[2])))
        box = patch.make_box(site.canvas.grid, 10.0).intersect(site.chest.lungs.box)
        distance = patch.compute_distance(box) + 5.0 * np.clip(make_smooth_field(box, 12.0, site.rng), -2, 2)
        coverage = np.clip(0.5 - distance / 12.0, 0, 1).astype(np.float32) * site.cover_lungs(box)
        # The haze adds to the lung up to a ceiling, so that overlapping patches stay ground glass.
        under = site.canvas.hu[box.slices]
        extents.append(site.blend(box, coverage, np.maximum(under, np.minimum(under + density, -330.0))))
    return Extent.join(extents)


def paint_emphysema(site: Site) -> Extent:
    """Holes of destroyed lung, most in the upper lobes; bullae under the pleura when severe."""
    box = site.chest.lungs.box
    field = make_smooth_field(box, 9.0, site.rng) + 0.6 * make_smooth_field(box, 24.0, site.rng)
    height = np.clip(box.z / site.chest.plan.apex_mm, 0, 1)
    threshold = site.grade(1.4, 0.3) - 0.8 * (height - 0.5)
    coverage = np.clip((field - threshold) * np.float32(2.2), 0, 1) * site.cover_lungs(box)
    extents = [site.blend(box, coverage * np.float32(0.9), -975.0)]
    for centre in site.pick_lung_points(round(site.grade(0, 7)), (4.0, 14.0), (0.4, 0.95)):
        radii = site.rng.uniform(7, 10, 3) * site.grade(0.8, 2.0)
        bulla = Ellipsoid((float(centre[0]), float(centre[1]), float(centre[2])), (radii[0], radii[1], radii[2]))
        part = bulla.make_box(site.canvas.grid, 3.0).intersect(box)
        distance, inside = bulla.compute_distance(part), site.cover_lungs(part)
        site.canvas.blend(part, site.canvas.cover(np.abs(distance) - np.float32(0.5)) * inside, -500.0)
        extents.append(site.blend(part, site.canvas.cover(distance + np.float32(0.8)) * inside, -995.0))
    return Extent.join(extents)


def paint_fibrosis(site: Site) -> Extent:
    """Reticulation and honeycombing under the pleura, most at the bases and behind."""
    box = site.chest.lungs.box
    lungs = site.cover_lungs(box)
    height = np.clip(box.z / site.chest.plan.apex_mm, -0.3, 1)
    reach = site.grade(9.0, 30.0) * np.clip(1.15 - 1.3 * height, 0.12, 1.2) * np.clip(1 + box.y / 140.0, 0.35, 1.6)
    depth = np.minimum(-site.chest.trunk.take_cage(box), 2.5 * -site.chest.lungs.to_diaphragm)
    depth = depth + 4.0 * make_smooth_field(box, 20.0, site.rng)
    coverage = np.clip((reach - depth) / 6.0, 0, 1).astype(np.float32) * lungs
    # Where either of two smooth fields is near zero lies a wall: cells of several millimetres.
    net = np.minimum(np.abs(make_smooth_field(box, 6.0, site.rng)), np.abs(make_smooth_field(box, 5.0, site.rng)))
    walls = np.clip(1.2 - net * np.float32(3.4), 0, 1)
    texture = np.float32(site.grade(-700, -820)) + walls * np.float32(site.grade(420, 760))
    return Extent.join([site.blend(box, coverage * np.float32(0.9), texture)])


def paint_mosaic_attenuation(site: Site) -> Extent:
    """Sharply bounded patches of lighter and darker lung."""
    box = site.chest.lungs.box
    patches = np.clip(make_smooth_field(box, 30.0, site.rng) * np.float32(5.0), -1, 1)
    change = patches * np.float32(site.grade(28.0, 80.0))
    change += np.float32(site.grade(14.0, 50.0))
    lungs = site.cover_lungs(box)
    under = site.canvas.hu[box.slices]
    is_parenchyma = np.clip((-480.0 - under) / 120.0, 0, 1)
    site.canvas.blend(box, lungs * is_parenchyma.astype(np.float32), under + change)
    return Extent.join([Extent.around(site.canvas.grid, box, lungs > 0.5)])


def paint_bronchiectasis(site: Site) -> Extent:
    """Bronchi that are wide and do not taper, with thick walls, in one lower lung."""
    side = site.draw_side()
    plan = site.chest.plan
    root = np.asarray(plan.place(side * 54.0, 32.0, 66.0))
    radius, wall = site.grade(2.6, 6.0), site.grade(1.4, 2.6)
    targets = site.pick_lung_points(round(site.grade(5, 14)), (9.0, 40.0), (-0.12, 0.42), side)
    bronchi = [_lead_bronchus(root, target, radius, site) for target in targets]
    extents = [_paint_tube_in_lungs(site, bronchus, wall, 10.0) for bronchus in bronchi]
    for bronchus in bronchi:
        _paint_tube_in_lungs(site, bronchus, 0.0, -980.0)
    return Extent.join(extents)


def _lead_bronchus(root: np.ndarray, target: np.ndarray, radius: float, site: Site) -> Tube:
    start = root + 0.35 * (target - root)
    bend = (start + target) / 2 + site.rng.normal(0, 5, 3)
    points = [(float(p[0]), float(p[1]), float(p[2])) for p in (start, bend, target)]
    return make_tube(points, [radius * site.draw(0.8, 1.0), radius, radius * site.draw(0.9, 1.3)], steps=3)


def _paint_tube_in_lungs(site: Site, tube: Tube, grow_mm: float, hu: float) -> Extent | None:
    box = tube.make_box(site.canvas.grid, grow_mm).intersect(site.chest.lungs.box)
    distance = tube.compute_distance(box) - np.float32(grow_mm)
    return site.blend(box, site.canvas.cover(distance) * site.cover_lungs(box), hu)
