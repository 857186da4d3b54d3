"""What golden folders describe by recipe instead of storing: volumes, masks and the geometry of their small network."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from workers.fvlm.configuration import Architecture

TOKEN_STEP = 37
"""Large windows store every so manieth token."""

_LARGE_VOXELS = 400_000


def read_architecture(golden: Path) -> Architecture:
    """Return the geometry of the small set."""
    table = json.loads((golden / "tiny_config.json").read_text())
    vision, text = table["vision"], table["text"]
    image = {
        "dim": vision["hidden"],
        "mlp_dim": vision["mlp"],
        "heads": vision["heads"],
        "depth": vision["layers"],
        "layer_norm_eps": vision["layer_norm_eps"],
        "patch_size": table["patch"],
        "position_grid": table["position_grid"],
        "levels": [level for level in table["levels"] if isinstance(level, int)],
        "pool_heads": table["pool_heads"],
    }
    bert = {
        "vocab_size": text["vocab"],
        "hidden_size": text["hidden"],
        "num_hidden_layers": text["layers"],
        "num_attention_heads": text["heads"],
        "intermediate_size": text["intermediate"],
        "max_position_embeddings": text["positions"],
        "layer_norm_eps": text["layer_norm_eps"],
    }
    sizes = {"dim_latent": table["embed_dim"], "prompt_tokens": min(text["positions"], Architecture.prompt_tokens)}
    return Architecture.from_table({"image": image, "text": bert, **sizes})


def draw_volume(shape: Sequence[int], offset: int) -> Tensor:
    """Return a window (1, 1, z, y, x) of a recipe."""
    z, y, x = np.ogrid[tuple(slice(size) for size in shape)]
    values = 13 * z + 7 * y + 3 * x + 5 * ((x * y) % 31) + 3 * ((y * z) % 17) + offset
    return torch.from_numpy((values % 256).astype(np.float32) / np.float32(255))[None, None]


def draw_ellipsoid(shape: Sequence[int], centre_radii: Sequence[Sequence[int]]) -> Tensor:
    """Return the mask (z, y, x) of an ellipsoid, from its centre and radii along the same axes."""
    return torch.from_numpy(find_ellipsoid(shape, *centre_radii).astype(np.uint8))


def find_ellipsoid(shape: Sequence[int], centre: Sequence[int], radii: Sequence[int]) -> npt.NDArray[np.bool_]:
    """Return which voxels lie in an ellipsoid, in whole numbers."""
    first, second, third = np.ogrid[tuple(slice(size) for size in shape)]
    a, b, c = radii
    squares = (
        ((first - centre[0]) * b * c) ** 2 + ((second - centre[1]) * a * c) ** 2 + ((third - centre[2]) * a * b) ** 2
    )
    return np.asarray(squares <= (a * b * c) ** 2)


def sample_tokens(tokens: Tensor, window: Tensor) -> Tensor:
    """Return the tokens (n, d) of a window that are stored."""
    return tokens[::TOKEN_STEP] if window.numel() > _LARGE_VOXELS else tokens
