"""Memory that MedNeXt takes for one study beside its weights, by formulas fitted to measured peaks."""

from __future__ import annotations

import math

import torch

from shared.byte_units import MIB
from workers.mednext.configuration import Architecture, Preprocessing
from workers.model_host.memory import MemoryAmount

_FLOAT_BYTES, _VOXEL_BYTES = 4, 2

_PREPARED_COPIES = 5
"""Copies of the region of interest while it is resampled and normalised: 4.5 measured at full size."""

_SLAB_PLANES = 24
"""Planes of float64 that resampling has in hand: three times eight slices."""

_STREAMED_COPIES = 2.2
"""Copies of the first stage's activation when the expansion is streamed: 2.0 measured at full size."""

_ALLOCATOR_BYTES = 4 * MIB


def predict_memory(
    architecture: Architecture,
    preprocessing: Preprocessing,
    shape_zyx: tuple[int, int, int],
    device: torch.device,
    *,
    is_streamed: bool,
) -> MemoryAmount:
    """Return the peak of preparing and answering a volume of `shape_zyx` voxels. A GPU's share is not measured yet.

    A network that is not streamed holds the expansion three times, in half precision.
    """
    prepared = math.prod(preprocessing.roi_xyz) * _FLOAT_BYTES
    first_stage = prepared // 8 * architecture.base_channels
    copies = _STREAMED_COPIES if is_streamed else 2 + 3 * architecture.exp_r[0] / 2
    slabs = _SLAB_PLANES * 8 * shape_zyx[1] * shape_zyx[2]
    resampling = _PREPARED_COPIES * prepared + slabs + _VOXEL_BYTES * math.prod(shape_zyx) + _ALLOCATOR_BYTES
    answering = prepared + int(copies * first_stage) + _ALLOCATOR_BYTES
    if device.type == "cpu":
        return MemoryAmount(max(resampling, answering))
    return MemoryAmount(resampling, answering)
