"""What the demo MedNeXt learns from: which findings a study has, and where they lie.

Where is learnt by two heads that exist in training only. They make small findings learnable from a thousand studies:
a nodule is one cell in a thousand of the feature map that the classifier averages over.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from training.mednext_batches import Batch
from workers.mednext.model import MedNeXt

PLACE_WEIGHT = 1.0


class LocatingModel(nn.Module):
    """A MedNeXt with a map of findings on each stage but the first."""

    def __init__(self, model: MedNeXt, findings: int) -> None:
        super().__init__()
        base = model.architecture.base_channels
        self.model = model
        self.heads = nn.ModuleDict(
            {f"stage{stage}": nn.Conv3d(base * 2**stage, findings, 1) for stage in range(1, len(model.stages))}
        )

    def forward(self, volume: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Return logits (b, classes) and maps of logits (b, findings, x, y, z)."""
        maps, logits = [], volume
        for name, activation in self.model.iterate_activations(volume):
            if name in self.heads:
                maps.append(self.heads[name](activation))
            logits = activation
        return logits, maps


def compute_loss(logits: Tensor, maps: list[Tensor], batch: Batch, pos_weight: Tensor) -> Tensor:
    """Return cross entropy of the classes plus that of the places.

    The places of the batch are on the grid of the first map; they are made coarser for the others.
    """
    loss = functional.binary_cross_entropy_with_logits(logits, batch.targets, batch.weights, pos_weight=pos_weight)
    for each in maps:
        inside = functional.adaptive_max_pool3d(batch.places, each.shape[2:])
        loss = loss + PLACE_WEIGHT / len(maps) * compute_place_loss(each, inside)
    return loss


def compute_place_loss(logits: Tensor, inside: Tensor) -> Tensor:
    """Weigh the cells inside of a finding as much as all cells outside, however small it is."""
    logits, inside = logits.flatten(2), inside.flatten(2)  # (b, findings, cells)
    outside = 1 - inside
    found = (functional.softplus(-logits) * inside).sum(-1) / inside.sum(-1).clamp(min=1)
    clear = (functional.softplus(logits) * outside).sum(-1) / outside.sum(-1).clamp(min=1)
    return clear.mean() + 2 * found.mean()
