"""Memory that fVLM takes for one study beside its weights, by formulas fitted to measured peaks."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from shared.byte_units import MIB
from workers.fvlm.configuration import GeometryKind, ImageShape, Preprocessing
from workers.model_host.memory import MemoryAmount

_FLOAT_BYTES = 4
_READ_BYTES = 2 + 1 + 1
"""A voxel of the volume, of its labels, and of its organs."""

_COPIED_BYTES = 2 + 1 + 4
"""A voxel laid out anew, and in float32."""

_RESAMPLED_BYTES = 4 + 1 + 3 * 4
"""A voxel of the grid that windows are cut from: resampled with its organs, windowed to intensities, filled up."""

_CHEST_MM = (450.0, 450.0, 450.0)
"""What is resampled of a volume (z, y, x); the spacing is not known before it is read."""

TOKEN_COPIES = 14
_ALLOCATOR_BYTES = 32 * MIB


def predict_memory(
    shape: ImageShape, preprocessing: Preprocessing, device: torch.device, shape_zyx: tuple[int, int, int]
) -> MemoryAmount:
    """Return the peak of preparing and answering a volume of `shape_zyx` voxels. A GPU's share is not measured yet."""
    voxels = math.prod(shape_zyx)
    grid = voxels if preprocessing.geometry is GeometryKind.PRODUCT else _count_resampled(preprocessing.spacing_mm)
    preparing = (_READ_BYTES + _COPIED_BYTES) * voxels + _RESAMPLED_BYTES * grid
    windows = math.prod(preprocessing.window) * _FLOAT_BYTES * 3
    tokens = math.prod(shape.compute_grid(preprocessing.window))
    encoding = TOKEN_COPIES * tokens * shape.dim * _FLOAT_BYTES + _ALLOCATOR_BYTES
    if device.type == "cpu":
        return MemoryAmount(max(preparing, encoding) + windows)
    return MemoryAmount(preparing + windows, encoding)


def _count_resampled(spacing_mm: Sequence[float]) -> int:
    return int(math.prod(length / step for length, step in zip(_CHEST_MM, spacing_mm, strict=True)))
