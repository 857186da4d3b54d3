"""A multi-label classifier on CT-CLIP's image latents.

Paper:   Hamamci et al., arXiv 2403.17834 (ClassFine, file LiPro: a linear probe on rectified latents). The product's
         classifier norms the latents instead and was trained with the encoder.
Licence: code ours (Apache-2.0). LiPro's weights are CC BY-NC-SA 4.0, and whatever was trained from CT-CLIP's weights
         stands under their terms: imported by the operator, never shipped.
Ours:    the text side, which the answer does not depend on, is not there.

Volumes are (b, c, z, x, y).
"""

from __future__ import annotations

from torch import Tensor, nn

from workers.ct_clip.image_tower import ImageTower
from workers.supervised.configuration import Architecture, HeadKind


class LatentClassifier(nn.Module):
    """Image tower and head; the head's dropout is 0 outside of training and is left out."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        latent = architecture.ct_clip.dim_latent
        self.architecture = architecture
        self.image = ImageTower(architecture.ct_clip.image, latent)
        self.head = nn.Sequential(
            _make_preparation(architecture.head, latent), nn.Linear(latent, architecture.num_classes)
        )

    def forward(self, volume: Tensor) -> Tensor:
        """Return logits (b, classes) of prepared volumes (b, c, z, x, y)."""
        return self.classify(self.image(volume))

    def classify(self, latents: Tensor) -> Tensor:
        """Return logits (b, classes) of image latents (b, dim_latent) of length one."""
        logits: Tensor = self.head(latents)
        return logits


def compute_probabilities(logits: Tensor) -> Tensor:
    """Return how probable each label is (b, classes), in float32; labels may stand together."""
    return logits.float().sigmoid()


def _make_preparation(head: HeadKind, latent: int) -> nn.Module:
    match head:
        case HeadKind.LAYER_NORM:
            return nn.LayerNorm(latent)
        case HeadKind.RECTIFIED:
            return nn.ReLU()
        case HeadKind.PLAIN:
            return nn.Identity()
