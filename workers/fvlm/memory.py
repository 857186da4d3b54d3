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

_TURNED_BYTES = 4 + 1
"""A voxel in the order of axes of the reference, in float32, and its organ."""

_GRID_BYTES = 4 + 1
"""A voxel of the grid that windows are cut from, and its organ."""

_CUT_BYTES = 2 * _GRID_BYTES
"""The same once cut out and windowed, and once filled up."""

_CHEST_MM = (450.0, 450.0, 450.0)
"""What is resampled of a volume (z, y, x); the spacing is not known before it is read."""

_MOST_WINDOWS = 3
TOKEN_COPIES = 14
"""Copies of the tokens of a window that are alive at once, levels and feed-forward included."""

_ALLOCATOR_BYTES = 32 * MIB


def predict_memory(
    shape: ImageShape, preprocessing: Preprocessing, device: torch.device, shape_zyx: tuple[int, int, int]
) -> MemoryAmount:
    """Return the peak of preparing and answering a volume of `shape_zyx` voxels. A GPU's share is not measured yet."""
    windows = _MOST_WINDOWS * math.prod(preprocessing.window) * _FLOAT_BYTES
    preparing = _predict_preparing(preprocessing, math.prod(shape_zyx)) + windows
    tokens = math.prod(shape.compute_grid(preprocessing.window))
    encoding = TOKEN_COPIES * tokens * shape.dim * _FLOAT_BYTES + _ALLOCATOR_BYTES
    if device.type == "cpu":
        return MemoryAmount(max(preparing, windows + encoding))
    return MemoryAmount(preparing, encoding)


def _predict_preparing(preprocessing: Preprocessing, voxels: int) -> int:
    if preprocessing.geometry is GeometryKind.PRODUCT:
        return (_READ_BYTES + _CUT_BYTES) * voxels
    grid = _count_resampled(preprocessing.spacing_mm)
    resampling = (_READ_BYTES + _TURNED_BYTES) * voxels + _GRID_BYTES * grid
    return max(resampling, _READ_BYTES * voxels + (_GRID_BYTES + _CUT_BYTES) * grid)


def _count_resampled(spacing_mm: Sequence[float]) -> int:
    return int(math.prod(length / step for length, step in zip(_CHEST_MM, spacing_mm, strict=True)))
