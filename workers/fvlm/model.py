"""fVLM: which of two sentences fits an organ better.

Paper:   Shui et al., "Large-scale and Fine-grained Vision-language Pre-training for Enhanced CT Image Understanding"
         (ICLR 2025), arXiv 2501.14548.
Licence: code ours (Apache-2.0), written from the paper and a description of the weights. The public weights were
         trained on CT-RATE (CC BY-NC-SA 4.0): imported by the operator, never shipped.
Ours:    a window is encoded once for all organs in it, prompts are encoded once for all studies.
"""

from __future__ import annotations

import torch
from torch import nn

from workers.fvlm.configuration import Architecture
from workers.fvlm.image_tower import ImageTower
from workers.fvlm.text_tower import TextTower


class FVLM(nn.Module):
    """Two sides and a temperature, by which cosines are divided."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.architecture = architecture
        self.image = ImageTower(architecture.image, architecture.dim_latent)
        self.text = TextTower(architecture)
        self.temperature = nn.Parameter(torch.ones(()))
