"""From a prompt to its latent: CT-CLIP's kind of text side, but without token types and with a bias.

Paper:   Shui et al., arXiv 2501.14548; the encoder is CXR-BERT's, see `workers.ct_clip.text_tower`.
Weights: inside fVLM's checkpoint.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from workers.ct_clip.text_tower import TextTower as BertTower
from workers.fvlm.configuration import Architecture


class NoTokenTypes(nn.Module):
    """Stands where BERT embeds token types. fVLM was trained without: nothing is added, nothing is in its weights."""

    def forward(self, token_types: Tensor) -> Tensor:
        """Return the zero that is added to every word."""
        return torch.zeros((), device=token_types.device)


class TextTower(BertTower):
    """The text side of fVLM."""

    model_name = "fVLM"

    def __init__(self, architecture: Architecture) -> None:
        super().__init__(architecture.text, architecture.dim_latent)
        self.encoder.embeddings.token_type_embeddings = NoTokenTypes()
        self.projection = nn.Linear(architecture.text.hidden_size, architecture.dim_latent)
        self.max_tokens = architecture.prompt_tokens
