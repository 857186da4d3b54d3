"""What the demo MedNeXt learns from: which findings a study has, and where they lie.

Where is learnt by two heads that exist in training only. They make small findings learnable from a thousand studies:
a nodule is one cell in a thousand of the feature map that the classifier averages over.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from workers.mednext.model import MedNeXt

PLACE_WEIGHT = 0.5


class LocatingModel(nn.Module):
    """A MedNeXt with a finding map on each of its last two stages."""

    def __init__(self, model: MedNeXt, findings: int) -> None:
        super().__init__()
        stages = len(model.stages)
        width = model.architecture.base_channels * 2 ** (stages - 1)
        self.model = model
        self.heads = nn.ModuleDict(
            {
                f"stage{stages - 2}": nn.Conv3d(width // 2, findings, 1),
                f"stage{stages - 1}": nn.Conv3d(width, findings, 1),
            }
        )

    def forward(self, volume: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Return logits (b, classes) and maps of logits (b, findings, x, y, z)."""
        maps, logits = [], volume
        for name, activation in self.model.iterate_activations(volume):
            if name in self.heads:
                maps.append(self.heads[name](activation))
            logits = activation
        return logits, maps


def compute_loss(logits: Tensor, maps: list[Tensor], targets: Tensor, boxes: Tensor, pos_weight: Tensor) -> Tensor:
    """Return cross entropy of the classes plus that of the places.

    `targets` (b, classes); `boxes` (b, findings, 2, 3) in fractions of the input, NaN where a finding is absent.
    """
    loss = functional.binary_cross_entropy_with_logits(logits, targets, pos_weight=pos_weight)
    for each in maps:
        loss = loss + PLACE_WEIGHT / len(maps) * _compute_place_loss(each, boxes)
    return loss


def _compute_place_loss(logits: Tensor, boxes: Tensor) -> Tensor:
    """Weigh the cells inside of a finding as much as all cells outside, however small it is."""
    inside = draw_boxes(boxes, logits.shape[2:]).flatten(2)  # (b, findings, cells)
    logits = logits.flatten(2)
    outside = 1 - inside
    found = (functional.softplus(-logits) * inside).sum(-1) / inside.sum(-1).clamp(min=1)
    clear = (functional.softplus(logits) * outside).sum(-1) / outside.sum(-1).clamp(min=1)
    is_present = inside.any(-1)
    return clear.mean() + found[is_present].sum() / is_present.numel() * 2


def draw_boxes(boxes: Tensor, shape: torch.Size) -> Tensor:
    """Return float maps (b, findings, x, y, z) that are 1 in the cells that a box touches."""
    spans = []
    for axis, size in enumerate(shape):
        starts = torch.arange(size) / size
        low, high = boxes[:, :, 0, axis, None], boxes[:, :, 1, axis, None]
        spans.append(((starts + 1 / size > low) & (starts < high)).float())  # comparisons with NaN are false
    along_x, along_y, along_z = spans
    return along_x[..., :, None, None] * along_y[..., None, :, None] * along_z[..., None, None, :]
