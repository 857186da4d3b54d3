"""The known answer of an image side: a window and organs made from a formula, and the latents that belong to them."""

from __future__ import annotations

import torch
from torch import Tensor

from model_weights.catalogue import ModelEntry
from model_weights.loading import load_tensors
from shared.errors import Defect
from workers.fvlm.configuration import ImageShape
from workers.fvlm.image_tower import ImageTower
from workers.fvlm.organs import ORGANS, Organ

LATENT_TOLERANCE = 1e-3
"""Largest difference of a latent's entry: processors round differently, half precision shall not pass for it."""

_GRID = (2, 3, 2)
"""Tokens of the question: few, and of no grid that positions are stored for, so that they are interpolated."""


def make_question(shape: ImageShape) -> tuple[Tensor, dict[Organ, Tensor]]:
    """Return a small window (1, 1, z, y, x) of waves, and for each organ the tokens (n,) that it takes of it."""
    z, y, x = (
        torch.arange(count * patch, dtype=torch.float64) for count, patch in zip(_GRID, shape.patch_size, strict=True)
    )
    waves = torch.sin(0.31 * z[:, None, None] + 0.2) * torch.cos(0.045 * y[:, None]) + torch.sin(0.9 * x + 1.3)
    window = (waves / 4 + 0.5).float()[None, None]
    tokens = torch.arange(_GRID[0] * _GRID[1] * _GRID[2])
    return window, {organ: tokens % len(ORGANS) >= organ.row for organ in ORGANS}


@torch.inference_mode()
def make_known_answer(tower: ImageTower) -> dict[str, Tensor]:
    """Return the `latents` (organs, dim_latent) of the question."""
    window, masks = make_question(tower.encoder.shape)
    device = tower.queries.device
    latents = tower(window.to(device), {organ: mask.to(device) for organ, mask in masks.items()})
    return {"latents": torch.stack([latents[organ] for organ in ORGANS]).cpu()}


def require_known_answer(entry: ModelEntry, tower: ImageTower) -> None:
    """Warm the tower up with the question. Raises Defect when its latents are others than those that are known."""
    known = load_tensors(entry.get_file("known_answer"))["latents"]
    error = float((make_known_answer(tower)["latents"] - known).abs().max())
    if not error <= LATENT_TOLERANCE:
        raise Defect(f"model {entry.name} gives another answer than its known one: a latent is off by {error:.2g}")
