"""Whole studies for the pooling, the projections and the texts: encoded once, then seen through several masks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from training.fvlm.batches import TAUGHT_ITEMS, View, count_in_tokens, disturb, judge, list_item_organs
from workers.fvlm.image_encoder import ImageEncoder
from workers.fvlm.organs import ORGANS

_DROPPED = 0.15
"""Share of tokens that a study is seen without."""


@dataclass(frozen=True)
class Encoded:
    """One study: `levels` float16 (levels, n, d) of tokens in any organ; by mask, `organs` bool (masks, organs, n)

    and `targets` and `weights` (masks, items).
    """

    levels: Tensor
    organs: Tensor
    targets: Tensor
    weights: Tensor


@dataclass(frozen=True)
class WholeBatch:
    """Studies together: `levels` (b, levels, n, d), `organs` bool (b, organs, n), `targets`, `weights` (b, items)."""

    levels: Tensor
    organs: Tensor
    targets: Tensor
    weights: Tensor


@torch.no_grad()
def encode_view(encoder: ImageEncoder, view: View, rng: np.random.Generator) -> Encoded:
    """Encode a study as the stage does, all of it in one window, and keep what any mask takes of it."""
    patch = encoder.shape.patch_size
    ends = [-size % edge for size, edge in zip(view.image.shape, patch, strict=True)]
    padding = [each for end in reversed(ends) for each in (0, end)]
    image = functional.pad(disturb(view.image[None, None], rng), padding)
    masks = functional.pad(view.organs, padding)
    organs = torch.stack([count_in_tokens(masks == organ.label, patch) > 0 for organ in ORGANS], dim=1)
    places = count_in_tokens(functional.pad(view.places, padding), patch) > 0
    targets, weights = _judge_masks(view, organs, places)
    kept = organs.any(dim=1).any(dim=0)
    return Encoded(encoder(image)[0][:, kept].half(), organs[:, :, kept], targets, weights)


def make_whole_batch(studies: Sequence[Encoded], rng: np.random.Generator) -> WholeBatch:
    """Return studies, each through one of its masks and without some of its tokens."""
    longest = max(study.levels.shape[1] for study in studies)
    parts = [_take(study, int(rng.integers(len(study.organs))), longest, rng) for study in studies]
    return WholeBatch(*(torch.stack(column) for column in zip(*parts, strict=True)))


def _take(study: Encoded, mask: int, longest: int, rng: np.random.Generator) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    missing = longest - study.levels.shape[1]
    kept = torch.from_numpy(rng.random(study.levels.shape[1]) >= _DROPPED)
    organs = study.organs[mask]
    # Never all tokens of an organ: it would have nothing to look at.
    organs = torch.where((organs & kept).any(dim=1, keepdim=True), organs & kept, organs)
    levels = functional.pad(study.levels.float(), (0, 0, 0, missing))
    return levels, functional.pad(organs, (0, missing)), study.targets[mask], study.weights[mask]


def _judge_masks(view: View, organs: Tensor, places: Tensor) -> tuple[Tensor, Tensor]:
    """Return targets and weights (masks, items): an item that a mask leaves out is not told, nor that of no organ."""
    rows, at_all = torch.tensor(list_item_organs()), torch.from_numpy(view.has_item)
    judged = []
    for mask in organs:
        seen, total = torch.zeros(len(TAUGHT_ITEMS)), torch.zeros(len(TAUGHT_ITEMS))
        seen[at_all] = (places & mask[rows[at_all]]).sum(-1).float()
        total[at_all] = places.sum(-1).float()
        targets, weights = judge(seen, total)
        # One that is there but outside of the mask is no evidence that it is not.
        weights = weights * (targets.bool() | ~at_all) * mask[rows].any(-1)
        judged.append((targets, weights))
    targets, weights = (torch.stack(column) for column in zip(*judged, strict=True))
    return targets, weights
