"""Memory that the image tower takes for one study beside its weights, by formulas fitted to measured peaks."""

from __future__ import annotations

import math

import torch

from shared.byte_units import MIB
from workers.ct_clip.configuration import ImageShape, Preprocessing
from workers.model_host.memory import MemoryAmount

_FLOAT_BYTES, _VOXEL_BYTES = 4, 2

TOKEN_COPIES = 12
"""Copies of all tokens that are alive at once: 11 measured at the published size on a CPU, fused attention included."""

_PIECE_BYTES = 50 * MIB
"""Pieces of feed-forward and code search, and what the allocator keeps."""

_SLAB_PLANES = 16
"""Planes of float64 that resampling has in hand."""


def predict_memory(
    shape: ImageShape, preprocessing: Preprocessing, device: torch.device, shape_zyx: tuple[int, int, int]
) -> MemoryAmount:
    """Return the peak of preparing and encoding a volume of `shape_zyx` voxels. A GPU's share is not measured yet."""
    prepared = math.prod(preprocessing.shape) * shape.channels * _FLOAT_BYTES
    resampling = prepared + _VOXEL_BYTES * math.prod(shape_zyx) + _SLAB_PLANES * 8 * shape_zyx[1] * shape_zyx[2]
    encoding = TOKEN_COPIES * _count_tokens(shape, preprocessing) * shape.dim * _FLOAT_BYTES + _PIECE_BYTES
    if device.type == "cpu":
        return MemoryAmount(max(resampling, prepared + encoding))
    return MemoryAmount(resampling, prepared + encoding)


def _count_tokens(shape: ImageShape, preprocessing: Preprocessing) -> int:
    return preprocessing.shape[0] // shape.temporal_patch_size * shape.grid_size**2
