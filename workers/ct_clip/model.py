"""CT-CLIP: findings by name, without training for them.

Papers:  Hamamci et al., "Developing Generalist Foundation Models from a Multimodal Dataset for 3D Computed
         Tomography", arXiv 2403.17834 (CT-CLIP); Radford et al., "Learning Transferable Visual Models From Natural
         Language Supervision", arXiv 2103.00020 (CLIP).
Licence: code ours (Apache-2.0), written from the papers and a description of the weights. The published weights are
         CC BY-NC-SA 4.0: imported by the operator, never shipped.
Ours:    images and prompts are encoded apart, so that prompts are encoded once for all studies.

Volumes are (b, c, z, x, y), prompts (n, tokens), latents (b, dim_latent).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from workers.ct_clip.configuration import Architecture
from workers.ct_clip.image_tower import ImageTower
from workers.ct_clip.text_tower import TextTower


class CTCLIP(nn.Module):
    """Two towers and a temperature."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.architecture = architecture
        self.image = ImageTower(architecture.image, architecture.dim_latent)
        self.text = TextTower(architecture.text, architecture.dim_latent)
        self.temperature = nn.Parameter(torch.ones(()))

    def forward(self, volume: Tensor, token_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Return logits (b, labels, 2) of volumes and prompts; rows 2i and 2i + 1 say that label i is, and is not."""
        return score_prompts(self.image(volume), self.text(token_ids, attention_mask), self.temperature)


def score_prompts(image_latents: Tensor, text_latents: Tensor, temperature: Tensor) -> Tensor:
    """Return logits (b, labels, 2) of latents (b, d) and of two prompts for each label (2 * labels, d)."""
    logits = temperature.exp() * image_latents @ text_latents.t()  # (b, 2 * labels)
    return logits.view(len(image_latents), -1, 2)


def compute_probabilities(logits: Tensor) -> Tensor:
    """Return how probable it is that each label is present (b, labels), from logits (b, labels, 2)."""
    return logits.float().softmax(dim=-1)[..., 0]
