"""What the demo MedNeXt learns from: which findings a study has, and where they lie.

Where is learnt by two heads that exist in training only. They make small findings learnable from a thousand studies:
a nodule is one cell in a thousand of the feature map that the classifier averages over.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from training.mednext_batches import Batch
from training.place_loss import add_place_loss
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
    return add_place_loss(loss, maps, batch.places, PLACE_WEIGHT)
