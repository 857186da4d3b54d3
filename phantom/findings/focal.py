"""Focal findings of the lung: nodule, mass, consolidation and atelectasis."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from phantom.canvas import Box, Floats, Point
from phantom.fields import make_smooth_field
from phantom.findings.finding import Extent, Site
from phantom.shapes import Ellipsoid, Tube, make_rotation, make_tube

_PLACES = 20


def paint_nodule(site: Site) -> Extent:
    """One round or lobulated nodule, 7 to 28 mm."""
    radius = site.grade(3.5, 14.0)
    centre = site.pick_lung_points(1, (radius * 0.8, 60.0))[0]
    hu = site.draw(20, 60) if site.rng.random() < 0.85 else site.draw(150, 350)
    extent = _paint_lump(site, centre, radius, 0.10 * radius, hu)
    for _ in range(_PLACES):  # A small one may fall into an airway and leave nothing.
        if extent:
            break
        extent = _paint_lump(site, site.pick_lung_points(1, (radius * 0.8, 60.0))[0], radius, 0.10 * radius, hu)
    return Extent.join([extent])


def paint_mass(site: Site) -> Extent:
    """One irregular mass, 34 to 80 mm, with a softer core; it may reach the pleura."""
    radius = site.grade(17.0, 40.0)
    centre = site.pick_lung_points(1, (radius * 0.45, 60.0))[0]
    extent = Extent.join([_paint_lump(site, centre, radius, 0.16 * radius, site.draw(30, 55))])
    core = Ellipsoid((float(centre[0]), float(centre[1]), float(centre[2])), (radius * 0.5,) * 3)
    box = core.make_box(site.canvas.grid).intersect(site.chest.lungs.box)
    inside = site.canvas.cover(core.compute_distance(box)) * site.cover_lungs(box)
    site.canvas.blend(box, inside * np.float32(0.8), site.draw(5, 25))
    return extent


def paint_consolidation(site: Site) -> Extent:
    """Lung without air in part of a lobe, 40 to 110 mm, with open bronchi in it."""
    radius = site.grade(20.0, 55.0)
    centre = site.pick_lung_points(1, (4.0, 22.0), (-0.1, 0.7))[0]
    shape = _make_blob(site, centre, radius)
    box = shape.make_box(site.canvas.grid, 12.0).intersect(site.chest.lungs.box)
    distance = shape.compute_distance(box) + _make_wobble(site, box, 14.0, 6.0)
    coverage = np.clip(0.5 - distance / np.float32(9.0), 0, 1) * site.cover_lungs(box)
    extent = site.blend(box, coverage * np.float32(0.97), site.draw(15, 45))
    for bronchus in _lead_bronchi(site, centre, radius):
        part = bronchus.make_box(site.canvas.grid).intersect(box)
        inside = site.canvas.cover(bronchus.compute_distance(part)) * coverage[box.find_window(part)]
        site.blend(part, inside, -900.0)
    return Extent.join([extent])


def paint_atelectasis(site: Site) -> Extent:
    """A plate or wedge of collapsed lung above the diaphragm, 5 to 34 mm thick."""
    thickness = site.grade(2.5, 17.0)
    side = site.draw_side()
    centre = site.pick_lung_points(1, (6.0, 30.0), (-0.08, 0.3), side)[0]
    rotation = make_rotation(yaw_deg=site.draw(-60, 60), pitch_deg=side * site.draw(5, 35), roll_deg=site.draw(-25, 25))
    radii = (site.draw(34, 52), site.draw(26, 40), thickness)
    plate = Ellipsoid((float(centre[0]), float(centre[1]), float(centre[2])), radii, rotation)
    box = plate.make_box(site.canvas.grid, 6.0).intersect(site.chest.lungs.box)
    distance = plate.compute_distance(box) + _make_wobble(site, box, 16.0, min(1.5, 0.4 * thickness))
    coverage = site.canvas.cover(distance) * site.cover_lungs(box)
    return Extent.join([site.blend(box, coverage, site.draw(20, 60))])


def _paint_lump(site: Site, centre: np.ndarray, radius: float, roughness_mm: float, hu: float) -> Extent | None:
    shape = _make_blob(site, centre, radius)
    box = shape.make_box(site.canvas.grid, 2 * roughness_mm + 1).intersect(site.chest.lungs.box)
    distance = shape.compute_distance(box) + _make_wobble(site, box, 0.8 * radius, roughness_mm)
    coverage = site.canvas.cover(distance) * site.cover_lungs(box)
    return site.blend(box, coverage, hu)


def _make_blob(site: Site, centre: np.ndarray, radius: float) -> Ellipsoid:
    radii = [radius * factor for factor in site.rng.uniform(0.85, 1.15, 3)]
    yaw, roll = site.draw(-90, 90), site.draw(-40, 40)
    middle = (float(centre[0]), float(centre[1]), float(centre[2]))
    return Ellipsoid(middle, (radii[0], radii[1], radii[2]), make_rotation(yaw_deg=yaw, roll_deg=roll))


def _make_wobble(site: Site, box: Box, grain_mm: float, depth_mm: float) -> Floats:
    if box.is_empty:
        return np.zeros(box.shape, dtype=np.float32)
    return np.clip(make_smooth_field(box, grain_mm, site.rng), -2, 2) * np.float32(depth_mm)


def _lead_bronchi(site: Site, centre: np.ndarray, radius: float) -> Iterator[Tube]:
    """Lead open bronchi from the side of the hilum through a consolidation."""
    root = np.asarray(site.chest.plan.place(45.0 * np.sign(centre[0]), 20.0, 95.0))
    inward = (root - centre) / max(float(np.linalg.norm(root - centre)), 1e-6)
    for _ in range(4):
        spread = site.rng.normal(0, 0.45, 3)
        ends: list[Point] = []
        for reach in (0.75, 0.1, -0.45):
            x, y, z = centre + radius * (reach * inward + (0.8 - reach) * spread)
            ends.append((float(x), float(y), float(z)))
        yield make_tube(ends, [2.0, 1.6, 1.1])
