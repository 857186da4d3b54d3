"""The known answer of an image tower: a question made from a formula, the codes and the latent that belong to it."""

from __future__ import annotations

import torch
from torch import Tensor

from model_weights.catalogue import ModelEntry
from model_weights.loading import load_tensors
from shared.errors import Defect
from workers.ct_clip.configuration import ImageShape
from workers.ct_clip.image_tower import ImageTower

CODE_TOLERANCE = 1e-2
"""Share of tokens whose code may be another: processors round differently, and some tokens lie between two codes."""

LATENT_TOLERANCE = 1e-3
"""Largest difference of a latent's entry, made from equal codes."""

_SLABS = 2
"""Token layers of the question: the fewest that the temporal attention has something to do with."""


def make_question(shape: ImageShape) -> Tensor:
    """Return a small prepared volume (1, c, z, x, y): waves that are the same on every machine but for rounding."""
    z = torch.arange(_SLABS * shape.temporal_patch_size, dtype=torch.float64)[:, None, None]
    x = torch.arange(shape.image_size, dtype=torch.float64)[:, None]
    y = torch.arange(shape.image_size, dtype=torch.float64)
    waves = torch.sin(0.31 * z + 0.2) * torch.cos(0.045 * x) + 0.7 * torch.sin(0.9 * x + 0.6 * y + 1.3 * z)
    return waves.clamp(-1, 1).float().expand(1, shape.channels, -1, -1, -1)


@torch.inference_mode()
def make_known_answer(tower: ImageTower) -> dict[str, Tensor]:
    """Return the `codes` (b, t, h, w) and the `latents` (b, dim_latent) of the question."""
    activations = dict(tower.iterate_activations(make_question(tower.encoder.shape)))
    return {"codes": activations["vq_indices"].int(), "latents": activations["image_latents"]}


@torch.inference_mode()
def require_known_answer(entry: ModelEntry, tower: ImageTower) -> None:
    """Warm the tower up with the question. Raises Defect when its codes, or the latent of known codes, are others."""
    device = tower.projection.weight.device
    known = load_tensors(entry.get_file("known_answer"), device)
    found = dict(tower.encoder.iterate_activations(make_question(tower.encoder.shape).to(device)))["vq_indices"]
    share = float((found != known["codes"]).double().mean())
    if not share <= CODE_TOLERANCE:
        raise Defect(f"model {entry.name} gives another answer than its known one: {share:.1%} of its codes are others")
    latents = tower.project(tower.encoder.code_book(known["codes"].long()))
    error = float((latents - known["latents"]).abs().max())
    if not error <= LATENT_TOLERANCE:
        raise Defect(f"model {entry.name} gives another answer than its known one: its latent is off by {error:.2g}")
