"""What is done to differences before anybody looks for the places where they are largest. Pure.

Slices and maps are (n, x, y), slices in [-1, 1].
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from workers.diffusion.configuration import MapShape
from workers.diffusion.slice_grid import SliceGrid

_BODY = -0.5
"""-500 HU: what is denser is body, and what it encloses."""

Images = npt.NDArray[np.float32]


def refine(maps: Images, slices: Images, shape: MapShape, pixel_mm: tuple[float, float]) -> Images:
    """Return maps with nothing outside of the body, smoothed within it, as the shape says; `pixel_mm` is (x, y)."""
    refined = maps
    if shape.is_body_only:
        refined = np.where(np.stack([find_body(image) for image in slices]), refined, np.float32(0))
    if shape.smoothing_mm:
        sigma = [0.0, *(shape.smoothing_mm / side for side in pixel_mm)]
        refined = ndimage.gaussian_filter(refined, sigma, mode="constant")
    return np.asarray(refined, np.float32)


def measure_pixel(grid: SliceGrid) -> tuple[float, float]:
    """Return the sides of one pixel along (x, y), in mm."""
    x, y = (float(np.linalg.norm(grid.to_lps[:3, axis])) for axis in (0, 1))
    return (x, y)


def find_body(image: Images) -> npt.NDArray[np.bool_]:
    """Return which pixels (x, y) of a slice lie in the largest thing that is no air, its holes filled."""
    labels, count = ndimage.label(image > _BODY)
    if not count:
        return np.zeros(image.shape, bool)
    largest = labels == np.bincount(labels.ravel())[1:].argmax() + 1
    return np.asarray(ndimage.binary_fill_holes(largest), bool)
