"""Findings of the pleural space: effusion and pneumothorax."""

from __future__ import annotations

import numpy as np

from phantom.canvas import Floats
from phantom.findings.finding import Extent, Site, blend_into


def paint_pleural_effusion(site: Site) -> Extent:
    """Fluid that lies at the back and at the bottom of one side; from a sliver to half of the lung."""
    lungs = site.chest.lungs
    sx, sy, sz = site.chest.plan.scale_xyz
    side = 1 if site.rng.random() < 0.5 else -1
    # The surface of the fluid rises to the wall: a meniscus.
    level_y = site.grade(74.0, 8.0) * sy
    top_z = site.grade(30.0, 190.0) * sz
    beside = np.abs(lungs.box.x / sx)
    meniscus = (
        (lungs.box.y - level_y)
        + 0.12 * np.clip(beside - 40, 0, 90)
        - 0.22 * np.clip(lungs.box.z - 0.3 * top_z, 0, None)
    )
    above = (lungs.box.z - top_z) * np.float32(0.8)
    depth = np.maximum(np.maximum(-meniscus, above), lungs.distance - np.float32(0.5))
    own_side = site.canvas.cover(np.asarray(-side * lungs.box.x, dtype=np.float32))
    coverage = site.canvas.cover(np.asarray(depth, dtype=np.float32)) * own_side
    return blend_into(site, lungs.box, coverage, float(site.rng.uniform(4, 18)))


def paint_pneumothorax(site: Site) -> Extent:
    """Air in front of and above a lung that has drawn back from the wall."""
    lungs = site.chest.lungs
    plan = site.chest.plan
    side = 1 if site.rng.random() < 0.5 else -1
    thickness = site.grade(7.0, 42.0)
    ahead = np.clip(0.55 - lungs.box.y / (110.0 * plan.scale_xyz[1]), 0.05, 1.2)
    high = np.clip(0.45 + 0.75 * lungs.box.z / plan.apex_mm, 0.1, 1.2)
    rim = _measure_rim(site)
    depth = np.asarray(rim - thickness * ahead * high, dtype=np.float32)
    own_side = site.canvas.cover(np.asarray(-side * (lungs.box.x - side * 12), dtype=np.float32))
    inside = site.canvas.cover(lungs.distance) * own_side
    extent = blend_into(site, lungs.box, site.canvas.cover(depth) * inside, -998.0)
    line = site.canvas.cover(np.abs(depth - np.float32(1.2)) - np.float32(0.5)) * inside
    site.canvas.blend(lungs.box, line * np.float32(0.5), -250.0)
    return extent


def _measure_rim(site: Site) -> Floats:
    """Return the depth under the wall of the cage (not under the mediastinum)."""
    lungs = site.chest.lungs
    apex = (site.chest.plan.apex_mm - lungs.box.z) * np.float32(0.9)
    return np.asarray(np.minimum(-site.chest.trunk.take_cage(lungs.box), apex), dtype=np.float32)
