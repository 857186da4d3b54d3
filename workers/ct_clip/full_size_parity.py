"""The image tower at its published size beside reference vectors, with weights and a volume that come from a recipe."""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from workers.ct_clip.configuration import Architecture
from workers.ct_clip.image_tower import ImageTower
from workers.ct_clip.loading import make_image_tower
from workers.ct_clip.published import describe_layout, take_tensor
from workers.parity import ParityCheck
from workers.tensor_parity import compare, load_golden

TOLERANCE = 1e-5
TRANSFORMER_TOLERANCE = 2e-5
CODE_TOLERANCE = 1e-3
"""Share of tokens whose code may differ: a few lie within rounding between two codes."""

_SHAPE = (240, 480, 480)
_STEP = 8
"""The samples are every 8th token along each axis."""

_SAMPLES = {
    "patch_embedding": ("patch_embedding_sample", TOLERANCE),
    "spatial_transformer_out": ("spatial_out_sample", TRANSFORMER_TOLERANCE),
    "encoded_tokens": ("encoded_sample", TRANSFORMER_TOLERANCE),
}


def check_full_size(golden: Path) -> Iterator[ParityCheck]:
    """Run the image tower on the recipe's volume. Takes 10 s and 2 GB on two cores."""
    vectors = load_golden(golden / "full_size_golden.safetensors")
    tower = make_recipe_tower()
    volume = make_recipe_volume()
    yield compare("full_size/volume", _measure_volume(volume), vectors["volume_checks"], TOLERANCE)
    for name, activation in tower.encoder.iterate_activations(volume):
        if name in _SAMPLES:
            sample, tolerance = _SAMPLES[name]
            yield compare(f"full_size/{name}", _sample(activation, tower), vectors[sample], tolerance)
        if name == "vq_indices":
            share = float((activation[0] != vectors["vq_indices"].long()).double().mean())
            yield ParityCheck("full_size/share of other codes", share, CODE_TOLERANCE)
    # From the reference's codes, because one code more or less is a jump.
    raw = tower.projection(tower.encoder.code_book(vectors["vq_indices"].long()).mean(dim=0).flatten())
    yield compare("full_size/image_latents_raw", raw, vectors["image_latents_raw"], TOLERANCE)
    yield compare("full_size/image_latents", functional.normalize(raw, dim=-1), vectors["image_latents"], TOLERANCE)


def make_recipe_tower() -> ImageTower:
    """Return the published architecture with weights that are drawn by the name of each key."""
    architecture = Architecture()
    tensors = {
        slot.ours: take_tensor(torch.from_numpy(_draw(name, slot.shape)), slot.ours)
        for name, slot in describe_layout(architecture).items()
        if slot.ours is not None and slot.ours.startswith("image.")
    }
    return make_image_tower(architecture, tensors)


def make_recipe_volume() -> Tensor:
    """Return a prepared volume (1, 1, z, x, y) of waves, its first ten slices air."""
    z, x, y = (np.arange(size, dtype=np.float64) for size in _SHAPE)
    volume = np.empty(_SHAPE, np.float32)
    for number in range(len(volume)):
        volume[number] = np.clip(_make_slice(z[number], x[:, None], y), -1, 1)
    volume[:10] = -1
    return torch.from_numpy(volume)[None, None]


def _make_slice(z: np.float64, y: npt.NDArray[np.float64], x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return one slice; the recipe calls the last axis x."""
    slow = 1.1 * np.sin(0.05 * z + 0.3) * np.cos(0.021 * y)
    fast = 0.35 * np.sin(1.7 * x + 2.3 * y + 0.9 * z)
    return np.asarray(slow + 0.9 * np.sin(0.017 * x * (1 + z / 400)) + fast)


def _draw(key: str, shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
    if key.endswith("beta"):
        return np.zeros(shape, np.float32)
    drawn = np.random.default_rng(zlib.crc32(key.encode())).standard_normal(shape, np.float32)
    if key.endswith("_codebook.embed"):
        return drawn / np.float32(math.sqrt(512))
    if len(shape) > 1:
        return drawn / np.float32(math.sqrt(math.prod(shape[1:])))
    return drawn * np.float32(0.1) if key.endswith("bias") else 1 + np.float32(0.1) * drawn


def _measure_volume(volume: Tensor) -> Tensor:
    voxels = volume[0, 0]
    return torch.stack([voxels.sum(dtype=torch.float64), voxels[17, 200, 301].double(), voxels[239, 0, 479].double()])


def _sample(activation: Tensor, tower: ImageTower) -> Tensor:
    side = tower.encoder.shape.grid_size
    grid = activation.view(-1, side, side, activation.shape[-1])  # (t, h, w, d), of one volume
    return grid[::_STEP, ::_STEP, ::_STEP]
