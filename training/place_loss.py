"""How well maps of logits tell where findings lie: small ones are hardly learnt from what a whole study has."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor
from torch.nn import functional


def add_place_loss(loss: Tensor, maps: Sequence[Tensor], places: Tensor, weight: float) -> Tensor:
    """Return the loss with the mean of the maps' place losses added, weighed.

    Maps are (b, findings, ...) in two or three dimensions, `places` 1 where a finding lies, on a grid as fine as the
    finest map's or finer: it is made as coarse as each map.
    """
    make_coarser = functional.adaptive_max_pool2d if places.ndim == 4 else functional.adaptive_max_pool3d
    for each in maps:
        loss = loss + weight / len(maps) * compute_place_loss(each, make_coarser(places, each.shape[2:]))
    return loss


def compute_place_loss(logits: Tensor, inside: Tensor) -> Tensor:
    """Weigh the cells inside of a finding as much as all cells outside, however small it is."""
    logits, inside = logits.flatten(2), inside.flatten(2)  # (b, findings, cells)
    outside = 1 - inside
    found = (functional.softplus(-logits) * inside).sum(-1) / inside.sum(-1).clamp(min=1)
    clear = (functional.softplus(logits) * outside).sum(-1) / outside.sum(-1).clamp(min=1)
    return clear.mean() + 2 * found.mean()
