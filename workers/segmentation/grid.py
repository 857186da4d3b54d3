"""From the volume's grid to the network's and back: axes, spacing, and nothing else.

What TotalSegmentator 2.18.0 does to a NIfTI image, without one. The axes of the array are reversed and swapped to lie
closest to right, front and head (RAS); the small rest of a turn stays, as the spacing along the array's own axes is all
that the resampling looks at. So an oblique volume is read on its own grid, as one would be that is not turned.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt
from nibabel.affines import voxel_sizes
from nibabel.orientations import apply_orientation, axcodes2ornt, io_orientation, ornt_transform
from scipy import ndimage

from workers.segmentation.configuration import FAST_SPACING_MM
from workers.volume import Geometry
from workers.volume.geometry import convert_lps_to_ras
from workers.volume.label_map import Labels

Hu = npt.NDArray[np.int16]
_Integer = TypeVar("_Integer", bound=np.integer)


@dataclass(frozen=True)
class NetworkGrid:
    """Where the voxels of a volume (z, y, x) lie for the network, which sees (z, y, x) with x right, y front, z up."""

    geometry: Geometry

    @property
    def _orientation(self) -> npt.NDArray[np.float64]:
        """Which axis of (x, y, z) each canonical one is, and whether it is turned over."""
        to_ras = convert_lps_to_ras(self.geometry.compute_affine_lps())
        return np.asarray(io_orientation(to_ras))  # type: ignore[no-untyped-call]  # nibabel

    def coarsen(self, hu: Hu) -> npt.NDArray[np.int32]:
        """Return the volume at the network's spacing: linear, in HU that are cut, not rounded, as the package does."""
        orientation = self._orientation
        canonical = _orient(hu.transpose(2, 1, 0), orientation)
        spacing = self._measure_spacing(orientation)
        if np.array_equal(spacing, FAST_SPACING_MM):
            coarse = canonical.astype(np.int32)
        else:
            zoom = spacing / np.asarray(FAST_SPACING_MM)
            # The package makes float64 of the whole volume first; the sums are in float64 either way.
            coarse = ndimage.zoom(canonical, zoom, output=np.float64, order=1, mode="nearest").astype(np.int32)
        return np.ascontiguousarray(coarse.transpose(2, 1, 0))

    def refine(self, labels: Labels, shape_zyx: tuple[int, int, int]) -> Labels:
        """Return labels on the volume's grid, of the nearest voxel of those on the network's."""
        orientation = self._orientation
        back = ornt_transform(axcodes2ornt("RAS"), orientation)  # type: ignore[no-untyped-call]  # nibabel
        fine = np.ascontiguousarray(_orient(labels.transpose(2, 1, 0), back).transpose(2, 1, 0))
        is_turned = orientation[::-1, 1] < 0
        for axis in (2, 1, 0):  # the slices, which are the most to copy, at the end
            fine = fine.take(_find_nearest(fine.shape[axis], shape_zyx[axis], is_turned=is_turned[axis]), axis=axis)
        return fine

    def _measure_spacing(self, orientation: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Return the spacing of the canonical axes, with the digits that a NIfTI header keeps of it."""
        sizes = voxel_sizes(self.geometry.compute_affine_lps())  # type: ignore[no-untyped-call]  # nibabel
        return np.asarray(sizes, dtype=np.float32)[_get_axes(orientation)].astype(np.float64)


def _orient(array: npt.NDArray[_Integer], orientation: npt.NDArray[np.float64]) -> npt.NDArray[_Integer]:
    return np.asarray(apply_orientation(array, orientation))  # type: ignore[no-untyped-call]  # nibabel


def _get_axes(orientation: npt.NDArray[np.float64]) -> npt.NDArray[np.intp]:
    """Return for each canonical axis the axis of the array that lies along it."""
    return np.argsort(orientation[:, 0])


def _find_nearest(size: int, target: int, *, is_turned: bool) -> npt.NDArray[np.intp]:
    """Return for each of `target` places the nearest of `size`, as SciPy's zoom picks it along the canonical axis."""
    places = np.arange(size)
    picked = places if size == target else ndimage.zoom(places, target / size, output=np.intp, order=0, mode="nearest")
    return np.asarray(size - 1 - picked[::-1] if is_turned else picked)
