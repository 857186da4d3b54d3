"""The slice classifier: the encoder of a U-Net with a pool that attends. It knows noisy slices as well as clean ones.

Papers:  Dhariwal and Nichol, arXiv 2105.05233 (classifier guidance); Radford et al., arXiv 2103.00020 (attention pool).
Licence: code ours (Apache-2.0), written from the papers and a description of the weights. The predecessor's weights are
         not public: imported by the operator, never shipped.
Ours:    the pool computes the answer of the first token only.

Images are (b, c, x, y).
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional

from workers.diffusion.blocks import Norm, TimeEmbedding, join_heads, project, split_heads
from workers.diffusion.configuration import ClassifierShape
from workers.diffusion.encoder import Encoder


class AttentionPool(nn.Module):
    """The mean of all positions looks at them."""

    def __init__(self, shape: ClassifierShape) -> None:
        super().__init__()
        channels = shape.deepest_channels
        self.heads = shape.count_heads(channels)
        self.positions = nn.Parameter(torch.randn(channels, shape.pooled_tokens) / channels**0.5)
        self.query_key_value = nn.Conv1d(channels, 3 * channels, 1)
        self.output = nn.Conv1d(channels, shape.out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (b, classes) of images (b, c, x, y)."""
        tokens = x.flatten(2).transpose(1, 2)
        tokens = torch.cat([tokens.mean(dim=1, keepdim=True), tokens], dim=1) + self.positions.t()  # (b, 1 + n, c)
        query, key, value = split_heads(project(self.query_key_value, tokens), self.heads, parts_first=True)
        attended = functional.scaled_dot_product_attention(query[:, :, :1], key, value)
        return project(self.output, join_heads(attended))[:, 0]


class SliceClassifier(nn.Module):
    """Time embedding, encoder, pool."""

    def __init__(self, shape: ClassifierShape) -> None:
        super().__init__()
        self.shape = shape
        self.time_embedding = TimeEmbedding(shape.model_channels)
        self.encoder = Encoder(shape)
        self.head_norm = Norm(shape.deepest_channels)
        self.pool = AttentionPool(shape)

    def forward(self, image: Tensor, times: Tensor) -> Tensor:
        """Return logits (b, classes) of images at times (b,) or (1,)."""
        x = image
        for activation in self.iterate_activations(image, times):
            x = activation
        return self.judge(x)

    def iterate_activations(self, image: Tensor, times: Tensor) -> Iterator[Tensor]:
        """Return what each step of the encoder returns (b, c, x, y), the deepest last."""
        activations: Iterator[Tensor] = self.encoder(image, self.time_embedding(times))
        return activations

    def judge(self, deepest: Tensor) -> Tensor:
        """Return the logits (b, classes) of what the encoder's last step returned (b, c, x, y)."""
        logits: Tensor = self.pool(functional.silu(self.head_norm(deepest)))
        return logits
