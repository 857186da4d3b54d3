"""Findings of the pleural space: effusion, pneumothorax, thickening."""

from __future__ import annotations

import numpy as np

from phantom.canvas import Box, Floats, Point
from phantom.fields import make_smooth_field
from phantom.findings.finding import Extent, Site


def paint_pleural_effusion(site: Site) -> Extent:
    """Fluid at the back and the bottom of one side, from a sliver to half of the lung, with a meniscus."""
    side = site.draw_side()
    box = site.make_side_box(side)
    _, sy, sz = site.chest.plan.scale_xyz
    top_z = site.grade(35.0, 185.0) * sz
    level_y = site.grade(70.0, 0.0) * sy
    # The surface runs backwards as it rises, and climbs at the wall.
    surface = level_y + 0.30 * np.clip(box.z - 0.25 * top_z, 0, None)
    surface = surface - 5.0 * np.exp(_measure_rim(site, box) * np.float32(-1 / 10.0))
    distance = np.maximum(surface - box.y, (box.z - top_z) * np.float32(0.8))
    distance += 1.5 * make_smooth_field(box, 25.0, site.rng)
    coverage = site.canvas.cover(np.asarray(distance, dtype=np.float32)) * site.canvas.cover(site.take_lungs(box))
    return Extent.join([site.blend(box, coverage, site.draw(3, 18))])


def paint_pneumothorax(site: Site) -> Extent:
    """Air in front of and above one lung, which has drawn back from the wall by 8 to 48 mm."""
    side = site.draw_side()
    box = site.make_side_box(side)
    plan = site.chest.plan
    ahead = np.clip(0.6 - box.y / (100.0 * plan.scale_xyz[1]), 0.08, 1.2)
    high = np.clip(0.45 + 0.75 * box.z / plan.apex_mm, 0.1, 1.2)
    thickness = site.grade(8.0, 48.0) * ahead * high
    distance = np.asarray(_measure_rim(site, box) - thickness, dtype=np.float32)
    inside = site.canvas.cover(site.take_lungs(box))
    line = site.canvas.cover(np.abs(distance - np.float32(1.0)) - np.float32(0.6)) * inside
    line *= np.clip((thickness - 3.0) / 6.0, 0, 0.5)
    site.canvas.blend(box, line, -200.0)
    return Extent.join([site.blend(box, site.canvas.cover(distance) * inside, -998.0)])


def paint_pleural_thickening(site: Site) -> Extent:
    """A rind along the wall of one side, 3 to 16 mm thick, often with plaques of calcium."""
    side = site.draw_side()
    box = site.make_side_box(side)
    centre = _pick_wall_point(site, side)
    offsets = [(axis - c) / reach for axis, c, reach in zip((box.x, box.y, box.z), centre, (70, 62, 75), strict=True)]
    patch = np.clip(1.25 - np.sqrt(sum(offset * offset for offset in offsets)) ** 2, 0, 1)
    bumps = np.clip(1 + 0.35 * make_smooth_field(box, 18.0, site.rng), 0.4, 1.6)
    thickness = site.grade(4.0, 16.0) * patch * bumps
    distance = np.asarray(_measure_rim(site, box) - thickness, dtype=np.float32)
    coverage = site.canvas.cover(distance) * site.canvas.cover(site.take_lungs(box)) * (thickness > 1.0)
    extent = site.blend(box, coverage, site.draw(35, 65))
    if site.rng.random() < 0.6:
        plaques = np.clip((make_smooth_field(box, 11.0, site.rng) - 0.7) * 3.0, 0, 1).astype(np.float32)
        shallow = site.canvas.cover(distance + np.float32(0.6 * site.grade(4.0, 16.0)))
        site.canvas.blend(box, coverage * plaques * shallow, site.draw(350, 700))
    return Extent.join([extent])


def _pick_wall_point(site: Site, side: int) -> Point:
    z = site.draw(0.15, 0.7) * site.chest.plan.apex_mm
    half_width, half_depth, middle = site.chest.plan.compute_cage(np.asarray([z], dtype=np.float32))
    angle = np.deg2rad(site.draw(-55, 60))
    return (
        float(side * half_width[0] * np.cos(angle)),
        float(middle[0] + half_depth[0] * np.sin(angle)),
        z,
    )


def _measure_rim(site: Site, box: Box) -> Floats:
    """Return the depth under the wall and the dome of the pleural cavity, not under mediastinum or diaphragm."""
    apex = (site.chest.plan.apex_mm - box.z) * np.float32(0.9)
    return np.asarray(np.minimum(-site.chest.trunk.take_cage(box), apex), dtype=np.float32)
