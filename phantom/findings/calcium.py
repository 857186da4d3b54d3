"""Grains of calcium: small dense round spots, kept to their true amount where voxels are larger than they."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from phantom.findings.finding import Extent, Site
from phantom.shapes import Ellipsoid


def paint_grains(
    site: Site, centres: npt.NDArray[np.float64], radius_mm: tuple[float, float], hu: tuple[float, float]
) -> Extent:
    """Paint grains at `centres` (n, 3) as (x, y, z), with radii and densities drawn from ranges."""
    least = 0.62 * site.canvas.grid.edge_mm  # the ball that holds as much as a voxel
    extents = []
    for x, y, z in centres.tolist():
        radius = site.draw(*radius_mm)
        seen = max(radius, least)
        ball = Ellipsoid((x, y, z), (seen, seen, seen))
        box = ball.make_box(site.canvas.grid)
        coverage = site.canvas.cover(ball.compute_distance(box)) * np.float32(min(1.0, (radius / seen) ** 3))
        site.blend(box, coverage, site.draw(*hu))
        extents.append(Extent((x - radius, y - radius, z - radius), (x + radius, y + radius, z + radius)))
    return Extent.join(extents)
