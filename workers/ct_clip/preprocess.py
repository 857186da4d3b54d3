"""From a volume to the input of CT-CLIP, in the arithmetic of the public script or of the predecessor's service.

Clip to [-1000, 1000] HU, resample (trilinear, half-pixel centres, no anti-aliasing), divide by 1000, crop or pad with
-1 about the centre. The published weights expect x to grow to the patient's left, y to the back and slices to the head,
and both references take the array as it comes: other volumes go in mirrored there. Here axes are turned first.

The weights of the interpolation come from torch's own kernel, because a position rounded otherwise is worth 3e-5 at
voxel 400 between steep edges. Slices are interpolated slab by slab and only where the crop keeps them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from scipy.optimize import linear_sum_assignment
from torch.nn import functional

from shared.errors import InputProblem
from shared.problems import ProblemCode
from workers.ct_clip.configuration import Preprocessing, Variant
from workers.volume import Geometry, Volume

FEWEST_SLICES = 20
"""Resampled slices below which the predecessor's service refuses a volume."""

_WINDOW_HU = 1000.0
_PADDING = -1.0
_HEAD_LEFT_BACK = (2, 0, 1)
"""Axes of LPS in the order in which the network takes them."""

_SLAB_SLICES = 2

_PRECISIONS = {Variant.PUBLIC: torch.float64, Variant.PREDECESSOR: torch.float32}


@dataclass(frozen=True)
class Rescale:
    """A line from stored values to HU. The public script applies one although the volumes of today hold HU already."""

    slope: float = 1.0
    intercept: float = 0.0


def prepare(volume: Volume, preprocessing: Preprocessing, rescale: Rescale | None = None) -> torch.Tensor:
    """Return the network's input, float32 (1, 1, slice, x, y).

    `rescale` is for stored values that are no HU, and only the public variant looks at it. Raises InputProblem when the
    predecessor's variant has fewer than 20 slices after resampling.
    """
    stored, spacing_mm = orient(volume)
    lengths = plan_lengths(stored.shape, spacing_mm, preprocessing)
    if preprocessing.variant is Variant.PREDECESSOR:
        _require_slices(lengths[0])
        rescale = None
    crops = plan_crops(lengths, preprocessing)
    prepared = torch.full((1, 1, *preprocessing.shape), _PADDING)
    precision = _PRECISIONS[preprocessing.variant]
    _resample_into(prepared[0, 0], _Source(stored, rescale or Rescale(), precision), lengths, crops)
    return prepared


@dataclass(frozen=True)
class Orientation:
    """How a volume's own axes (z, y, x) become the network's (slice, x, y): which they are, and which are turned."""

    own_axes: tuple[int, int, int]
    is_turned: tuple[bool, bool, bool]


def find_orientation(geometry: Geometry) -> Orientation:
    """Return what brings a volume as near to head, left and back as turning axes can."""
    # Own axes (z, y, x) by the patient's (L, P, S).
    directions = np.stack([geometry.normal, geometry.column_direction, geometry.row_direction])
    own_axes, patient_axes = linear_sum_assignment(-np.abs(directions))
    by_patient = dict(zip(patient_axes.tolist(), own_axes.tolist(), strict=True))
    z, x, y = (by_patient[axis] for axis in _HEAD_LEFT_BACK)
    is_turned = [bool(directions[own, patient] <= 0) for own, patient in zip((z, x, y), _HEAD_LEFT_BACK, strict=True)]
    return Orientation((z, x, y), (is_turned[0], is_turned[1], is_turned[2]))


def orient(volume: Volume) -> tuple[npt.NDArray[np.int16], tuple[float, float, float]]:
    """Return a view (slice, x, y) that grows to head, left and back as nearly as turning axes can, and its spacing."""
    orientation = find_orientation(volume.geometry)
    steps = tuple(slice(None, None, -1 if is_turned else 1) for is_turned in orientation.is_turned)
    z, x, y = (volume.geometry.spacing_zyx_mm[own] for own in orientation.own_axes)
    return volume.hu.transpose(orientation.own_axes)[steps], (z, x, y)


def plan_lengths(
    shape: tuple[int, ...], spacing_mm: tuple[float, float, float], preprocessing: Preprocessing
) -> tuple[int, int, int]:
    """Return the length of each axis once resampled, cut to a whole number in the variant's own precision.

    They differ by a voxel where shape * spacing / target is whole but for rounding: 100 slices of 0.9 mm become 60 of
    1.5 mm for the public script and 59 for the predecessor, whose spacing came from a NIfTI header in float32. The
    public script takes the spacing along x for y too.
    """
    kind = np.float64 if preprocessing.variant is Variant.PUBLIC else np.float32
    if preprocessing.variant is Variant.PUBLIC:
        spacing_mm = (spacing_mm[0], spacing_mm[1], spacing_mm[1])
    z, x, y = (
        max(1, int(kind(length) * (kind(found) / kind(wanted))))
        for length, found, wanted in zip(shape, spacing_mm, preprocessing.spacing_mm, strict=True)
    )
    return (z, x, y)


@dataclass(frozen=True)
class Crop:
    """What is kept of one resampled axis, and where it goes."""

    start: int
    size: int
    target: int

    @property
    def kept(self) -> slice:
        """Voxels of the resampled axis that the input holds."""
        return slice(self.start, self.start + self.size)

    @property
    def placed(self) -> slice:
        """Where they are in the input; the rest is padding."""
        return slice(self.target, self.target + self.size)


def plan_crops(lengths: tuple[int, int, int], preprocessing: Preprocessing) -> tuple[Crop, Crop, Crop]:
    """Return what is kept of each resampled axis (slice, x, y): the middle of it."""
    z, x, y = (
        Crop(max(0, (length - size) // 2), min(length, size), max(0, (size - length) // 2))
        for length, size in zip(lengths, preprocessing.shape, strict=True)
    )
    return (z, x, y)


def _require_slices(found: int) -> None:
    if found < FEWEST_SLICES:
        raise InputProblem(
            ProblemCode.INSUFFICIENT_COVERAGE,
            f"The volume has {found} slices once resampled; CT-CLIP needs {FEWEST_SLICES}.",
            slices=found,
        )


@dataclass(frozen=True)
class _Source:
    """Stored values (slice, x, y) and how they are read."""

    stored: npt.NDArray[np.int16]
    rescale: Rescale
    precision: torch.dtype

    def read_hu(self, slices: npt.NDArray[np.int64]) -> torch.Tensor:
        """Return clipped HU of some slices."""
        values = torch.from_numpy(np.ascontiguousarray(self.stored[slices])).to(self.precision)
        return values.mul_(self.rescale.slope).add_(self.rescale.intercept).clamp_(-_WINDOW_HU, _WINDOW_HU)


def _resample_into(
    target: torch.Tensor, source: _Source, lengths: tuple[int, int, int], crops: tuple[Crop, Crop, Crop]
) -> None:
    along_z, along_x, along_y = crops
    low, high, weight = _plan_slices(len(source.stored), lengths[0], source.precision)
    for start in range(0, along_z.size, _SLAB_SLICES):
        rows = slice(along_z.start + start, along_z.start + min(start + _SLAB_SLICES, along_z.size))
        slab = torch.lerp(source.read_hu(low[rows]), source.read_hu(high[rows]), weight[rows, None, None])
        plane = functional.interpolate(slab[:, None], lengths[1:], mode="bilinear", align_corners=False)[:, 0]
        kept = plane[:, along_x.kept, along_y.kept] / _WINDOW_HU
        first = along_z.target + start
        target[first : first + len(kept), along_x.placed, along_y.placed] = kept


def _plan_slices(
    size: int, length: int, precision: torch.dtype
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], torch.Tensor]:
    """Return, for each resampled slice, the two slices between which it lies and the weight of the second."""
    # What the kernel makes of unit vectors are its weights.
    units = torch.eye(size, dtype=precision)[None, None, :, :, None]
    weights = functional.interpolate(units, (length, size, 1), mode="trilinear", align_corners=False)[0, 0, :, :, 0]
    low = (weights > 0).int().argmax(dim=1)
    high = (low + 1).clamp(max=size - 1)
    second = torch.where(high > low, weights.gather(1, high[:, None])[:, 0], 0)
    return low.numpy(), high.numpy(), second
