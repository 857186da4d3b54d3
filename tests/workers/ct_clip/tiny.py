"""A CT-CLIP of few weights, and checkpoints of it as they are published."""

from __future__ import annotations

import torch
from torch import Tensor

from workers.ct_clip.configuration import Architecture, ImageShape, TextShape
from workers.ct_clip.published import describe_layout

TINY = Architecture(
    image=ImageShape(
        dim=12, codebook_size=16, image_size=16, patch_size=4, temporal_patch_size=2, spatial_depth=1, temporal_depth=1,
        dim_head=4, heads=2,
    ),
    text=TextShape(
        vocab_size=30522, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=12,
        max_position_embeddings=16,
    ),
    dim_latent=6,
)  # fmt: skip


def make_state(architecture: Architecture = TINY, seed: int = 0) -> dict[str, Tensor]:
    """Return a plain CT-CLIP state dict of random numbers, with the optional key."""
    generator = torch.Generator().manual_seed(seed)
    state = {
        name: torch.randn(slot.shape, generator=generator) * 0.3 for name, slot in describe_layout(architecture).items()
    }
    state["visual_transformer.vq._codebook.initted"] = torch.ones(1)
    state["text_transformer.embeddings.position_ids"] = torch.arange(architecture.text.max_position_embeddings)[None]
    return state
