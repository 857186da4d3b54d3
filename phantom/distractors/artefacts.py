"""Marks of the scan: motion, beam hardening between the shoulders, metal with its streaks."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from phantom.anatomy.plan import CAGE_HALF_WIDTH_MM
from phantom.canvas import Box, Floats, Point
from phantom.fields import make_smooth_field
from phantom.findings.finding import Site
from phantom.shapes import Ellipsoid

METAL_HU = 3000.0
_LUNG_BELOW_HU = -500.0
_LONGEST_SHIFT_MM = 7.0


def blur_by_motion(site: Site) -> None:
    """Show some stretches of slices twice, a few millimetres apart, as breathing and a beating heart do."""
    grid, hu = site.canvas.grid, site.canvas.hu
    for _ in range(int(site.rng.integers(1, 4))):
        middle = int(site.rng.integers(0, grid.shape_zyx[0]))
        half = max(1, round(site.draw(6, 22) / grid.spacing_zyx_mm[0]))
        shift = site.rng.uniform(-1, 1, 2) * _LONGEST_SHIFT_MM / np.asarray(grid.spacing_zyx_mm[1:])
        stretch = hu[max(0, middle - half) : middle + half + 1]
        stretch += np.float32(0.5) * (ndimage.shift(stretch, (0, *shift), order=1, mode="nearest") - stretch)


def harden_beam(site: Site) -> None:
    """Draw dark and bright bands from shoulder to shoulder, strongest at the apices."""
    plan, box = site.chest.plan, site.chest.trunk.box
    height = np.exp(-(((box.z / np.float32(plan.apex_mm) - 1.0) / 0.14) ** 2))
    middle = Box(box.slices, box.x[..., :1], box.y, box.z)
    bands = make_smooth_field(middle, site.draw(7.0, 12.0), site.rng)
    across = np.exp(-((box.x / (0.8 * CAGE_HALF_WIDTH_MM * plan.scale_xyz[0])) ** 4))
    streaks = np.float32(site.draw(15.0, 45.0)) * bands * height * across
    _add_within_body(site, box, np.asarray(streaks, dtype=np.float32))


def put_metal_in(site: Site) -> None:
    """Put wires of a closed sternum, or the port of a catheter, into the chest, with streaks around each."""
    for place, radii in _list_sternal_wires(site) if site.rng.random() < 0.6 else _list_port(site):
        _draw_streaks(site, place)
        metal = Ellipsoid(place, radii)
        box = metal.make_box(site.canvas.grid)
        if not box.is_empty:
            site.canvas.paint(box, metal.compute_distance(box), METAL_HU)


def _list_sternal_wires(site: Site) -> list[tuple[Point, Point]]:
    heights = np.linspace(60.0, 175.0, int(site.rng.integers(3, 6))) * site.chest.plan.scale_xyz[2]
    return [((site.draw(-4, 4), _find_front(site, z) - 6.0, float(z)), (7.0, 2.0, 1.4)) for z in heights]


def _list_port(site: Site) -> list[tuple[Point, Point]]:
    z = site.draw(165.0, 190.0) * site.chest.plan.scale_xyz[2]
    x = -site.draw(55.0, 75.0) * site.chest.plan.scale_xyz[0]
    return [((x, _find_front(site, z) - 2.0, z), (9.0, 5.0, 9.0))]


def _find_front(site: Site, z: float) -> float:
    """Return y of the front of the rib cage at a height."""
    _, half_depth, middle = site.chest.plan.compute_cage(np.asarray([z], dtype=np.float32))
    return float(middle[0] - half_depth[0])


def _draw_streaks(site: Site, place: Point) -> None:
    """Draw rays that fade within some centimetres, in the slices that hold the metal."""
    x, y, z = place
    reach = site.canvas.grid.spacing_zyx_mm[0] + 2.0
    slab = site.canvas.grid.make_box((-np.inf, -np.inf, z - reach), (np.inf, np.inf, z + reach))
    box = site.chest.trunk.box.intersect(slab)
    if box.is_empty:
        return
    angle = np.arctan2(box.y - y, box.x - x)
    rays = np.cos(angle * int(site.rng.integers(4, 9)) + site.draw(0, 2 * np.pi))
    fading = np.exp(-np.hypot(box.x - x, box.y - y) / site.draw(22.0, 45.0))
    _add_within_body(site, box, np.asarray(site.draw(60.0, 180.0) * rays * fading + 0 * box.z, dtype=np.float32))


def _add_within_body(site: Site, box: Box, streaks: Floats) -> None:
    """Add to tissue fully and to lung by half; what lies around the body stays air."""
    hu = site.canvas.hu[box.slices]
    trunk = site.chest.trunk
    inside = site.canvas.cover(trunk.to_skin[trunk.box.find_window(box)])
    hu += streaks * inside * np.where(hu < _LUNG_BELOW_HU, np.float32(0.5), np.float32(1.0))
