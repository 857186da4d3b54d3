"""From a prompt to its latent: a BERT, its first token, projection to the space that image and text share.

Papers:  Devlin et al., "BERT", arXiv 1810.04805; Boecking et al., "Making the Most of Text Semantics to Improve
         Biomedical Vision-Language Processing" (CXR-BERT), arXiv 2204.09817.
Origin:  `BertModel` of transformers (Apache-2.0).
Weights: inside CT-CLIP's checkpoint.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers.models.bert.configuration_bert import BertConfig
from transformers.models.bert.modeling_bert import BertModel

from workers.ct_clip.configuration import TextShape


class TextTower(nn.Module):
    """The text side of CT-CLIP."""

    model_name = "CT-CLIP"

    def __init__(self, shape: TextShape, dim_latent: int) -> None:
        super().__init__()
        # The weights have a pooler too, whose answer CT-CLIP does not use.
        self.encoder = BertModel(_make_config(shape), add_pooling_layer=False)
        self.projection = nn.Linear(shape.hidden_size, dim_latent, bias=False)
        self.max_tokens = shape.max_position_embeddings
        self.vocabulary_size = shape.vocab_size

    def forward(self, token_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Return latents (b, dim_latent) of length one of prompts (b, tokens); the mask is 0 where there is padding."""
        latents = self.project(self.encode(token_ids, attention_mask))
        return functional.normalize(latents, dim=-1)

    def encode(self, token_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Return hidden states (b, tokens, hidden)."""
        # BERT keeps positions and token types in buffers that no checkpoint fills; given here, they are not needed.
        positions = torch.arange(token_ids.shape[1], device=token_ids.device)[None]
        hidden: Tensor = self.encoder(
            input_ids=token_ids,
            attention_mask=attention_mask,
            position_ids=positions,
            token_type_ids=torch.zeros_like(token_ids),
        ).last_hidden_state
        return hidden

    def project(self, hidden: Tensor) -> Tensor:
        """Return latents (b, dim_latent), of any length, of hidden states (b, tokens, hidden)."""
        latents: Tensor = self.projection(hidden[:, 0])
        return latents


def _make_config(shape: TextShape) -> BertConfig:
    return BertConfig(
        vocab_size=shape.vocab_size,
        hidden_size=shape.hidden_size,
        num_hidden_layers=shape.num_hidden_layers,
        num_attention_heads=shape.num_attention_heads,
        intermediate_size=shape.intermediate_size,
        max_position_embeddings=shape.max_position_embeddings,
        type_vocab_size=shape.type_vocab_size,
        hidden_act="gelu",
        layer_norm_eps=shape.layer_norm_eps,
        pad_token_id=0,
    )
