"""Where the tokens of CT-CLIP lie in the patient: the way back through the preprocessing. Pure.

Indices of tokens and of the network's input are (x, y, slab or slice) here, as NIfTI orders axes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from workers.ct_clip.configuration import ImageShape, Preprocessing
from workers.ct_clip.preprocess import Crop, find_orientation, plan_crops, plan_lengths
from workers.volume import Geometry

Matrix = npt.NDArray[np.float64]
Window = tuple[slice, slice, slice]

_X_Y_SLICE = (1, 2, 0)
"""Axes of the network's input (slice, x, y) in the order of indices here."""


@dataclass(frozen=True)
class TokenGrid:
    """`to_volume` maps token indices to those of the volume (z, y, x), `to_lps` to millimetres: centres to centres.

    `scanned` are the tokens that hold any of the volume; the others are padding.
    """

    to_volume: Matrix
    to_lps: Matrix
    scanned: Window
    shape_zyx: tuple[int, int, int]


def make_token_grid(
    geometry: Geometry, shape_zyx: tuple[int, int, int], preprocessing: Preprocessing, image: ImageShape
) -> TokenGrid:
    """Return where the tokens of a volume's prepared form lie."""
    orientation, spacing_zyx_mm = find_orientation(geometry), geometry.spacing_zyx_mm
    z, x, y = orientation.own_axes
    sizes = (shape_zyx[z], shape_zyx[x], shape_zyx[y])
    lengths = plan_lengths(sizes, (spacing_zyx_mm[z], spacing_zyx_mm[x], spacing_zyx_mm[y]), preprocessing)
    crops = plan_crops(lengths, preprocessing)
    patch = (image.temporal_patch_size, image.patch_size, image.patch_size)
    to_volume = np.zeros((4, 4))
    to_volume[3, 3] = 1
    for column, axis in enumerate(_X_Y_SLICE):
        scale, offset = _trace_back(sizes[axis], lengths[axis], crops[axis], patch[axis])
        if orientation.is_turned[axis]:
            scale, offset = -scale, sizes[axis] - 1 - offset
        to_volume[orientation.own_axes[axis], [column, 3]] = scale, offset
    along_x, along_y, along_z = (_find_scanned(crops[axis], patch[axis]) for axis in _X_Y_SLICE)
    to_lps = geometry.compute_affine_lps() @ to_volume[[2, 1, 0, 3]]
    return TokenGrid(to_volume, to_lps, (along_x, along_y, along_z), shape_zyx)


def _trace_back(size: int, length: int, crop: Crop, patch: int) -> tuple[float, float]:
    """Return scale and offset from a token's index along one axis to that in the turned volume.

    A token's centre in the input is patch * index + (patch - 1) / 2; the input begins `target` before what is kept of
    the resampled axis, of which voxel i lies at (i + 0.5) * size / length - 0.5 of the volume (half-pixel centres).
    """
    ratio = size / length
    centre = (patch - 1) / 2 - crop.target + crop.start
    return patch * ratio, (centre + 0.5) * ratio - 0.5


def _find_scanned(crop: Crop, patch: int) -> slice:
    return slice(crop.target // patch, (crop.target + crop.size - 1) // patch + 1)
