"""Lungs by density alone: what a segmentation of a real CT is compared with where nobody has drawn them.

Air that the body encloses, without the airways; vessels are closed over. Lung as dense as soft tissue is not in it.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage

AIR_HU = -400
"""What is less dense is air."""

_GAS_HU = -930
_AIRWAY_MM = 2.5
_CLOSED_MM = 5.0
_SECOND_LUNG_SHARE = 0.1

Mask = npt.NDArray[np.bool_]


def find_lungs(hu: npt.NDArray[np.int16], spacing_zyx_mm: tuple[float, float, float]) -> Mask:
    """Return where the lungs are in HU (z, y, x)."""
    inside = _find_enclosed_air(hu)
    inside &= ~_find_airways(inside & (hu < _GAS_HU), spacing_zyx_mm)
    return _close(_keep_lungs(inside), spacing_zyx_mm)


def _find_enclosed_air(hu: npt.NDArray[np.int16]) -> Mask:
    """Return air that reaches the sides of the image in no slice."""
    enclosed = np.zeros(hu.shape, dtype=bool)
    for plane, out in zip(hu < AIR_HU, enclosed, strict=True):
        pieces, _ = ndimage.label(plane)
        sides = np.concatenate([pieces[0], pieces[-1], pieces[:, 0], pieces[:, -1]])
        out[:] = plane & ~np.isin(pieces, sides)
    return enclosed


def _find_airways(gas: Mask, spacing_zyx_mm: tuple[float, float, float]) -> Mask:
    """Return gas that is not loose voxels of noise or of emphysema, with its rim."""
    core = ndimage.distance_transform_edt(gas, spacing_zyx_mm) > _AIRWAY_MM
    return np.asarray(ndimage.distance_transform_edt(~core, spacing_zyx_mm) <= 2 * _AIRWAY_MM)


def _keep_lungs(inside: Mask) -> Mask:
    """Return the largest piece, and the second where it may be the other lung."""
    pieces, _ = ndimage.label(inside)
    sizes = np.bincount(pieces.ravel())
    sizes[0] = 0
    order = np.argsort(sizes)[::-1]
    kept = [piece for piece in order[:2] if sizes[piece] > _SECOND_LUNG_SHARE * sizes[order[0]]]
    return np.isin(pieces, kept)


def _close(mask: Mask, spacing_zyx_mm: tuple[float, float, float]) -> Mask:
    """Return the mask with gaps of up to twice the closing distance filled."""
    margin = [int(np.ceil(_CLOSED_MM / spacing)) + 1 for spacing in spacing_zyx_mm]
    padded = np.pad(mask, [(width, width) for width in margin])
    grown = ndimage.distance_transform_edt(~padded, spacing_zyx_mm) <= _CLOSED_MM
    closed = ndimage.distance_transform_edt(grown, spacing_zyx_mm) > _CLOSED_MM
    inner = tuple(slice(width, -width) for width in margin)
    return np.asarray(closed[inner] | mask)
