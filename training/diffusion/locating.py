"""A slice classifier that is also taught where lesions lie. The heads for that exist in training only."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional

from training.diffusion.pairs import LocatedBatch
from training.place_loss import add_place_loss
from workers.diffusion.classifier import SliceClassifier


class LocatingClassifier(nn.Module):
    """A slice classifier with a map of lesions on each level but the first."""

    def __init__(self, classifier: SliceClassifier) -> None:
        super().__init__()
        self.classifier = classifier
        shape = classifier.shape
        self.heads = nn.ModuleDict(
            {
                str(shape.image_size // 2**level): nn.Conv2d(multiple * shape.model_channels, 1, 1)
                for level, multiple in enumerate(shape.channel_mult)
                if level
            }
        )

    def forward(self, image: Tensor, times: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Return logits (b, classes) and maps of logits (b, 1, x, y), the finest first."""
        last_of_size = {}
        for activation in self.classifier.iterate_activations(image, times):
            last_of_size[str(activation.shape[-1])] = activation
        maps = [head(functional.silu(last_of_size[size])) for size, head in self.heads.items()]
        return self.classifier.judge(activation), maps


def compute_located_loss(logits: Tensor, maps: Sequence[Tensor], batch: LocatedBatch, place_weight: float) -> Tensor:
    """Return cross entropy of the slices plus, weighed, that of the places."""
    loss = functional.cross_entropy(logits, batch.labels)
    return add_place_loss(loss, maps, batch.lesions, place_weight)
