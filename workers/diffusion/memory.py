"""Memory that the detector takes for one study beside the classifier's weights."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch

from shared.byte_units import MIB
from workers.diffusion.configuration import Architecture, NetworkShape, Preprocessing
from workers.model_host.memory import MemoryAmount

_FLOAT_BYTES, _VOXEL_BYTES = 4, 2

_SLAB_PLANES = 16
"""Planes of float64 that resampling has in hand."""

_CLASSIFIER_COPIES = 16
"""Copies of the first activation while the classifier or its gradient is computed."""

_UNET_COPIES = 26
"""The same of the noise predictor, its skips included: 1.8 GB with 0.9 GB of weights were measured at full size."""

_ALLOCATOR_BYTES = 16 * MIB


class Batches(NamedTuple):
    """How many slices each network is given at a time."""

    classifier: int
    unet: int


def predict_memory(
    architecture: Architecture,
    preprocessing: Preprocessing,
    shape_zyx: tuple[int, int, int],
    device: torch.device,
    *,
    batches: Batches,
    unet_bytes: int,
) -> MemoryAmount:
    """Return the peak of preparing and answering a volume of `shape_zyx` voxels. A GPU's share is not measured yet.

    `unet_bytes` are the noise predictor's weights, which are loaded when first needed; 0 where there are none.
    """
    prepared = math.prod(preprocessing.volume.shape) * _FLOAT_BYTES
    slabs = _SLAB_PLANES * 8 * shape_zyx[1] * shape_zyx[2]
    resampling = prepared + _VOXEL_BYTES * math.prod(shape_zyx) + slabs
    answering = _CLASSIFIER_COPIES * _count_activation(architecture.classifier) * batches.classifier
    if unet_bytes:
        answering += unet_bytes + _UNET_COPIES * _count_activation(architecture.unet) * batches.unet
    answering += _ALLOCATOR_BYTES
    if device.type == "cpu":
        return MemoryAmount(max(resampling, prepared + answering))
    return MemoryAmount(resampling, answering)


def _count_activation(shape: NetworkShape) -> int:
    return shape.model_channels * shape.image_size**2 * _FLOAT_BYTES
