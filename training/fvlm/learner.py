"""What the demo fVLM learns from: which sentence of a pair fits an organ, and in which tokens a finding lies.

Paper:   Shui et al., arXiv 2501.14548 (organs and sentences about them, one organ at a time).
Ours:    each finding has a head of the pooling to itself. Where that head looks is what it is taught first: an organ
         has a thousand tokens, a nodule is in one of them, and some hundred studies would not tell which.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from training.fvlm.batches import ITEMS, TAUGHT_ITEMS, Batch, list_item_organs
from workers.fvlm.configuration import Architecture
from workers.fvlm.image_encoder import ImageEncoder, name_block
from workers.fvlm.image_tower import ImageTower
from workers.fvlm.model import FVLM
from workers.fvlm.organs import ORGANS

FIRST_TEMPERATURE, TEMPERATURES = 0.07, (0.02, 0.5)
_MIDDLE = 0.4
"""Intensity about which patches spread; lung is at 0.2, soft tissue at 0.8."""

_RIDGE = 1e-3
"""Variance, of intensities 0..1, below which a direction of patches is noise."""


@dataclass(frozen=True)
class Pooled:
    """`scores` (b, levels, organs, heads, n) of tokens, and organ latents (b, organs, dim_latent) of length one."""

    scores: Tensor
    latents: Tensor


class Learner(nn.Module):
    """An fVLM, and what its heads' scores are held against in training only."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.model = FVLM(architecture)
        self.model.temperature.data.fill_(FIRST_TEMPERATURE)
        image = self.model.image
        nn.init.normal_(image.queries, std=1.0)
        nn.init.normal_(image.encoder.patch_embedding.positions, std=0.02)
        self.score_bias = nn.Parameter(torch.full((len(architecture.image.levels) + 1, len(TAUGHT_ITEMS)), -2.0))
        self.item_organs = torch.tensor(list_item_organs())
        self.item_heads = torch.arange(len(TAUGHT_ITEMS)) % architecture.image.pool_heads
        self.item_rows = torch.tensor([ITEMS.index(item) for item in TAUGHT_ITEMS])

    def forward(self, batch: Batch) -> Pooled:
        """Return what pooling makes of crops."""
        return pool(self.model.image, encode_crops(self.model.image.encoder, batch), batch.organs)

    def compute_place_loss(self, scores: Tensor, batch: Batch) -> Tensor:
        """Return how badly the heads' scores tell tokens with a finding from other tokens of its organ.

        Inside and outside weigh alike, however small a finding is; the last level weighs as much as all others.
        """
        of_items = scores[:, :, self.item_organs, self.item_heads] + self.score_bias[None, :, :, None]  # (b, l, i, n)
        told = batch.organs[:, self.item_organs] & ~batch.places.isnan()
        inside = told & (batch.places == 1)
        outside = told & ~inside
        found = _average(functional.softplus(-of_items), inside[:, None])
        clear = _average(functional.softplus(of_items), outside[:, None])
        losses = (found + 2 * clear).mean(dim=1)  # (levels,)
        return losses[:-1].mean() + losses[-1] if len(losses) > 1 else losses[-1]

    def compute_pair_loss(
        self, latents: Tensor, texts: Tensor, targets: Tensor, weights: Tensor, pos_weight: Tensor | None = None
    ) -> Tensor:
        """Return the cross entropy of sentence pairs (`texts` are (2 * items, dim_latent)) of organ latents."""
        logits = self.score_pairs(latents, texts)
        losses = functional.binary_cross_entropy_with_logits(logits, targets, pos_weight=pos_weight, reduction="none")
        return (losses * weights).sum() / weights.sum().clamp(min=1)

    def score_pairs(self, latents: Tensor, texts: Tensor) -> Tensor:
        """Return how much better the positive sentence of each taught item fits than the negative one (b, items)."""
        pairs = texts.view(len(ITEMS), 2, -1)[self.item_rows]
        temperature = self.model.temperature.clamp(*TEMPERATURES)
        return torch.einsum("bid,id->bi", latents[:, self.item_organs], pairs[:, 1] - pairs[:, 0]) / temperature

    @torch.no_grad()
    def spread_patches(self, patches: Tensor) -> None:
        """Begin with an embedding that sees faint directions of patches (n, voxels) nearly as well as strong ones.

        Differences between lung and soft tissue are ten times those within the lung, and would hide them; but made
        quite even, the many directions of fine grain would hide all others. So strengths go by their root.
        """
        project = self.model.image.encoder.patch_embedding.project
        centred = patches - _MIDDLE
        values, vectors = torch.linalg.eigh(centred.t() @ centred / len(patches))
        kept = vectors.flip(1)[:, : project.out_channels]
        scales = (values.flip(0)[: project.out_channels] + _RIDGE) ** -0.25
        weight = torch.zeros(project.out_channels, patches.shape[1])
        weight[: kept.shape[1]] = (kept * scales).t()
        project.weight.copy_(weight.view_as(project.weight))
        assert project.bias is not None
        project.bias.copy_(-_MIDDLE * weight.sum(dim=1))

    @torch.no_grad()
    def finish(self) -> FVLM:
        """Return the model in inference mode, its temperature within its bounds."""
        self.model.temperature.clamp_(*TEMPERATURES)
        return self.model.eval().requires_grad_(requires_grad=False)


def encode_crops(encoder: ImageEncoder, batch: Batch) -> Tensor:
    """Return tokens of every level (b, levels, n, d) of crops that lie anywhere in their studies."""
    tokens = encoder.patch_embedding(batch.crops)
    return run_blocks(encoder, tokens + sample_positions(encoder, batch.centres))


def sample_positions(encoder: ImageEncoder, centres: Tensor) -> Tensor:
    """Return the positions (b, n, d) at the centres of tokens, as the encoder itself interpolates whole studies'."""
    embedding = encoder.patch_embedding
    table = embedding.positions.transpose(1, 2).reshape(1, -1, *encoder.shape.position_grid)
    sampled = functional.grid_sample(
        table.expand(len(centres), -1, -1, -1, -1), centres, padding_mode="border", align_corners=False
    )
    return sampled.flatten(2).transpose(1, 2)


def run_blocks(encoder: ImageEncoder, tokens: Tensor) -> Tensor:
    """Return tokens of every level (b, levels, n, d), the final one last, of embedded tokens (b, n, d)."""
    kept = {name_block(number) for number in encoder.shape.levels}
    levels = []
    for number, block in enumerate(encoder.blocks):
        tokens = block(tokens)
        if name_block(number) in kept:
            levels.append(tokens)
    return torch.stack([*levels, encoder.norm(tokens)], dim=1)


def pool(tower: ImageTower, levels: Tensor, organs: Tensor) -> Pooled:
    """Do what `ImageTower.pool` does, for studies (b, levels, n, d) and organs bool (b, organs, n) together.

    A query that never changes makes keys and values of all tokens needless: scores are one product with the tokens,
    and values are taken of their weighted mean. An organ without tokens gets a latent that means nothing.
    """
    dim, heads = tower.queries.shape[1], tower.attention.num_heads
    weight, bias = tower.attention.in_proj_weight, tower.attention.in_proj_bias
    query = functional.linear(tower.queries, weight[:dim], bias[:dim]).view(len(ORGANS), heads, -1)
    key = weight[dim : 2 * dim].view(heads, -1, dim)
    asked = torch.einsum("ohk,hkd->ohd", query, key) * (dim // heads) ** -0.5
    scores = torch.einsum("blnd,ohd->blohn", levels, asked)
    is_out = ~organs & organs.any(dim=-1, keepdim=True)
    masked = scores.masked_fill(is_out[:, None, :, None], -torch.inf)
    shares = masked.movedim(1, -2).flatten(-2).softmax(dim=-1)  # (b, organs, heads, levels * n)
    mean = torch.einsum("bohm,bmd->bohd", shares, levels.flatten(1, 2))
    value = torch.einsum("bohd,hkd->bohk", mean, weight[2 * dim :].view(heads, -1, dim)).flatten(2) + bias[2 * dim :]
    pooled = tower.attention.out_proj(value)
    projected = torch.stack([project(pooled[:, row]) for row, project in enumerate(tower.projections)], dim=1)
    return Pooled(scores, functional.normalize(projected, dim=-1))


def _average(losses: Tensor, where: Tensor) -> Tensor:
    """Return the mean of losses (b, levels, items, n) over the tokens where it counts, (levels, items)."""
    counts = where.sum(dim=(0, 3)).clamp(min=1)
    return (losses * where).sum(dim=(0, 3)) / counts
