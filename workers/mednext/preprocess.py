"""From a volume to the input of MedNeXt: numerically MONAI's transforms, without their detours.

The chain is Spacing (bilinear, border, align_corners false, float64), clip, optional body box, SpatialPad,
CenterSpatialCrop and NormalizeIntensity(nonzero, channel_wise) of MONAI 1.6.1. Resampling between two grids with the
same axes is a linear interpolation per axis, so it is done axis by axis, slab by slab, and only for the voxels that
the crop keeps: MONAI's sampling grid alone takes 0.5 GB at full size.

Two quirks are part of the model. Padding is 0 HU, not air, and stays 0; real voxels of exactly 0 HU stay 0 too and are
left out of the statistics.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from workers.mednext.body_box import Box, compute_body_box
from workers.mednext.configuration import Preprocessing
from workers.volume import Volume
from workers.volume.geometry import convert_lps_to_ras

FloatArray = npt.NDArray[np.float32]

_SLAB_SLICES = 8

_SPACING_TOLERANCE_MM = 1e-3


@dataclass(frozen=True)
class AxisSampling:
    """Linear interpolation along one axis: output i is (1 - weight[i]) * input[low[i]] + weight[i] * input[high[i]]."""

    low: npt.NDArray[np.int64]
    high: npt.NDArray[np.int64]
    weight: npt.NDArray[np.float64]

    def select(self, start: int, stop: int) -> AxisSampling:
        """Return the sampling of outputs start..stop alone."""
        return AxisSampling(self.low[start:stop], self.high[start:stop], self.weight[start:stop])


def prepare(volume: Volume, preprocessing: Preprocessing) -> torch.Tensor:
    """Return the network's input, float32 (1, 1, x, y, z) of exactly the region of interest."""
    return torch.from_numpy(normalise(resample_region(volume, preprocessing)))[None, None]


def resample_region(volume: Volume, preprocessing: Preprocessing) -> FloatArray:
    """Return HU of the region of interest, float32 (x, y, z), clipped to the window; 0 where the volume ends."""
    samplings = plan_resampling(volume, preprocessing)
    box = find_body_box(volume, preprocessing, samplings)
    crops = [_plan_crop(stop - start, size) for (start, stop), size in zip(box, preprocessing.roi_xyz, strict=True)]
    kept = [
        sampling.select(start + crop.start, start + crop.stop)
        for sampling, (start, _), crop in zip(samplings, box, crops, strict=True)
    ]
    cropped = resample(volume.hu, kept, preprocessing.window_hu)
    return _place(cropped, [crop.padding_before for crop in crops], preprocessing.roi_xyz)


def plan_resampling(volume: Volume, preprocessing: Preprocessing) -> list[AxisSampling]:
    """Return how each output index of x, y and z is interpolated, over the whole resampled volume.

    Directions that are not quite orthogonal (by rounding in the files) are taken as orthogonal.
    """
    # NIfTI stores the affine in float32, and the weights were trained on NIfTI files: at voxel 300 between steep
    # edges the rounding is worth 0.002 HU.
    affine = convert_lps_to_ras(volume.geometry.compute_affine_lps()).astype(np.float32).astype(np.float64)
    shape_xyz = volume.hu.shape[::-1]
    found_mm = np.sqrt(np.sum(affine[:3, :3] ** 2, axis=0))
    wanted_mm = np.asarray(preprocessing.spacing_xyz_mm)
    # MONAI leaves an axis alone when its spacing is as wanted within its tolerance.
    spacing_mm = np.where(np.abs(found_mm - wanted_mm) <= _SPACING_TOLERANCE_MM, found_mm, wanted_mm)
    lengths = count_resampled(shape_xyz, affine, spacing_mm)
    return [
        _plan_axis(size, length, ratio)
        for size, length, ratio in zip(shape_xyz, lengths, spacing_mm / found_mm, strict=True)
    ]


def count_resampled(
    shape_xyz: Sequence[int], affine: npt.NDArray[np.float64], spacing_mm: npt.NDArray[np.float64]
) -> list[int]:
    """Return how many voxels of the wanted spacing a volume has along x, y and z, as MONAI's `Spacing` counts them.

    The extent between its outermost voxels, on axes turned as the volume's but without its shear. Step by step as
    MONAI: at ratios such as 1.5 to 0.75 the extent is a whole number and a half, and the last bit decides.
    """
    directions = affine[:3, :3]
    zooms = np.linalg.cholesky(directions.T @ directions).T  # upper triangular: spacings, and shear beside them
    wanted = np.eye(4)
    wanted[:3, :3] = directions @ np.linalg.inv(zooms) @ np.diag(np.sign(np.diag(zooms)) * spacing_mm)
    ends = [(0.0, size - 1.0) for size in shape_xyz]
    corners = np.asarray(np.meshgrid(*ends, indexing="ij")).reshape(3, -1)
    places = np.linalg.solve(wanted, affine) @ np.concatenate((corners, np.ones_like(corners[:1])))
    return [int(length) for length in np.round(np.ptp(places[:3], axis=1) + 1.0)]


def resample(
    hu: npt.NDArray[np.int16], samplings_xyz: list[AxisSampling], window_hu: tuple[float, float]
) -> FloatArray:
    """Return HU at the samplings, clipped to the window: float32 (x, y, z) from int16 (z, y, x)."""
    along_x, along_y, along_z = samplings_xyz
    resampled = np.empty((len(along_z.low), len(along_y.low), len(along_x.low)), np.float32)
    matrix_x = _make_matrix(along_x, hu.shape[2])
    for start in range(0, len(resampled), _SLAB_SLICES):
        slab = _interpolate(hu, along_z.select(start, start + _SLAB_SLICES), axis=0)
        slab = _interpolate(slab, along_y, axis=1)
        resampled[start : start + _SLAB_SLICES] = (torch.from_numpy(slab) @ matrix_x).numpy()
    np.clip(resampled, *window_hu, out=resampled)
    return resampled.transpose(2, 1, 0)


def find_body_box(volume: Volume, preprocessing: Preprocessing, samplings: list[AxisSampling]) -> Box:
    """Return what is kept of the resampled volume: the body box where the option is on, else everything."""
    whole = tuple((0, len(sampling.low)) for sampling in samplings)
    if not preprocessing.crop_by_body_part:
        return (whole[0], whole[1], whole[2])
    return compute_body_box(resample(volume.hu, samplings, preprocessing.window_hu))


def normalise(hu: FloatArray) -> FloatArray:
    """Return voxels with zero mean and unit (population) deviation; zeros stay zero and do not count."""
    is_counted = hu != 0
    counted = hu[is_counted]
    if counted.size == 0:
        return hu
    mean, deviation = counted.mean(dtype=np.float64), counted.std(dtype=np.float64)
    # As MONAI does it: statistics are rounded to float32 and so is every step.
    normalised = (hu - np.float32(mean)) / np.float32(deviation or 1.0)
    return np.where(is_counted, normalised, np.float32(0))


def compute_input_corner(volume: Volume, preprocessing: Preprocessing) -> npt.NDArray[np.float64]:
    """Return where voxel (0, 0, 0) of the input lies, in mm along x, y and z of the volume from its first voxel."""
    box = find_body_box(volume, preprocessing, plan_resampling(volume, preprocessing))
    crops = [_plan_crop(stop - start, size) for (start, stop), size in zip(box, preprocessing.roi_xyz, strict=True)]
    voxels = [start + crop.start - crop.padding_before for (start, _), crop in zip(box, crops, strict=True)]
    return np.asarray(voxels, np.float64) * np.asarray(preprocessing.spacing_xyz_mm, np.float64)


@dataclass(frozen=True)
class _Crop:
    """What SpatialPad and CenterSpatialCrop keep of one axis, and how much padding comes before it."""

    start: int
    stop: int
    padding_before: int


def _plan_crop(length: int, size: int) -> _Crop:
    if length <= size:
        return _Crop(0, length, (size - length) // 2)
    start = length // 2 - size // 2
    return _Crop(start, start + size, 0)


def _plan_axis(size: int, length: int, ratio: float) -> AxisSampling:
    position = np.clip(np.arange(length) * ratio, 0, size - 1)
    low = np.floor(position).astype(np.int64)
    return AxisSampling(low, np.minimum(low + 1, size - 1), position - low)


def _interpolate(values: npt.NDArray[np.generic], sampling: AxisSampling, axis: int) -> npt.NDArray[np.float64]:
    shape = [1] * values.ndim
    shape[axis] = -1
    low = values.take(sampling.low, axis).astype(np.float64)
    high = values.take(sampling.high, axis).astype(np.float64)
    high -= low
    high *= sampling.weight.reshape(shape)
    high += low
    return high


def _make_matrix(sampling: AxisSampling, size: int) -> torch.Tensor:
    """Return the interpolation along the last axis as a float64 matrix (size, outputs): gathers are slower there."""
    matrix = np.zeros((size, len(sampling.low)))
    outputs = np.arange(len(sampling.low))
    matrix[sampling.high, outputs] = sampling.weight
    matrix[sampling.low, outputs] += 1 - sampling.weight
    return torch.from_numpy(matrix)


def _place(values: FloatArray, before: list[int], shape: tuple[int, int, int]) -> FloatArray:
    """Return a contiguous array of `shape` that is zero but for `values`, which start at `before`."""
    placed = np.zeros(shape, np.float32)
    region = tuple(slice(start, start + size) for start, size in zip(before, values.shape, strict=True))
    placed[region] = values
    return placed
