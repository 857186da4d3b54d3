"""Memory that labelling one volume takes beside the network's weights, by a formula compared with measured peaks."""

from __future__ import annotations

import math

import torch

from shared.byte_units import MIB
from workers.model_host.memory import MemoryAmount
from workers.segmentation.configuration import FAST_SPACING_MM, Architecture

_FIELD_MM = 500.0
"""Widest field of view: the shape of a volume does not tell its spacing."""

_HALF_BYTES, _FLOAT_BYTES = 2, 4

_VOLUME_BYTES = 2 + 2
"""Of each voxel: HU, and labels twice, never all at once."""

_WINDOW_COPIES = 1.02
"""Copies of a window's logits in float32: the answer, and one class of its sums."""

_STAGE_COPIES = 3.5
"""Copies of the finest stage's activations: 2.8 measured with the demo's shape, a window of 112 x 144 x 144."""

_ALLOCATOR_BYTES = 32 * MIB


def predict_memory(
    architecture: Architecture, classes: int, shape_zyx: tuple[int, int, int], device: torch.device
) -> MemoryAmount:
    """Return the peak of labelling a volume of `shape_zyx` voxels, whose spacing is not known."""
    patch = architecture.patch_size
    sides = [max(side, math.ceil(_FIELD_MM / spacing)) for side, spacing in zip(patch, FAST_SPACING_MM, strict=True)]
    slab = _HALF_BYTES * classes * patch[0] * sides[1] * sides[2]
    window = math.prod(patch) * _FLOAT_BYTES
    network = int(window * (_WINDOW_COPIES * classes + _STAGE_COPIES * architecture.features_per_stage[0]))
    labelling = slab + network + _ALLOCATOR_BYTES
    volume = _VOLUME_BYTES * math.prod(shape_zyx)
    if device.type == "cpu":
        return MemoryAmount(volume + labelling)
    return MemoryAmount(volume + _ALLOCATOR_BYTES, labelling)
