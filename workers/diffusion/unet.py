"""The noise predictor: what noise lies over an image, and how sure that is, at a known time.

Papers:  Ho et al., arXiv 2006.11239; Nichol and Dhariwal, "Improved Denoising Diffusion Probabilistic Models", arXiv
         2102.09672 (learned variance); Dhariwal and Nichol, arXiv 2105.05233 (architecture, label).
Licence: code ours (Apache-2.0), written from the papers and a description of the weights. The predecessor's weights are
         not public: imported by the operator, never shipped.

Images are (b, c, x, y).
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional

from workers.diffusion.blocks import Norm, Resampling, ResidualBlock, Step, TimeEmbedding, Upsampling
from workers.diffusion.configuration import UNetShape
from workers.diffusion.encoder import Encoder, make_step


class UNet(nn.Module):
    """The encoder, and a decoder that sees again what each of its steps returned."""

    def __init__(self, shape: UNetShape) -> None:
        super().__init__()
        self.shape = shape
        self.time_embedding = TimeEmbedding(shape.model_channels)
        if shape.num_classes:
            self.label_embedding = nn.Embedding(shape.num_classes, shape.embedding_channels)
        self.encoder = Encoder(shape)
        self.decoder = nn.ModuleList(_iterate_decoder(shape, list(self.encoder.widths)))
        first = shape.channel_mult[0] * shape.model_channels
        self.head_norm = Norm(first)
        self.head_convolution = nn.Conv2d(first, shape.out_channels, 3, padding=1)

    def forward(self, image: Tensor, times: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return noise and variance value, both (b, c, x, y), of images at times and with labels (b,) or (1,)."""
        skips = list(self.encoder(image, embedding := self.embed(times, labels)))
        x = skips.pop()
        for step in self.decoder:
            x = step(torch.cat([x, skips.pop()], dim=1), embedding)
        noise, variance = self.head_convolution(functional.silu(self.head_norm(x))).chunk(2, dim=1)
        return noise, variance

    def embed(self, times: Tensor, labels: Tensor) -> Tensor:
        """Return what the residual blocks are told (b, 4 * model_channels)."""
        embedding: Tensor = self.time_embedding(times)
        return embedding + self.label_embedding(labels) if self.shape.num_classes else embedding


def _iterate_decoder(shape: UNetShape, skipped: list[int]) -> Iterator[Step]:
    channels = shape.deepest_channels
    for level, multiple in reversed(list(enumerate(shape.channel_mult))):
        width = multiple * shape.model_channels
        for number in range(shape.num_res_blocks + 1):
            step = make_step(channels + skipped.pop(), width, 2**level, shape)
            channels = width
            if level > 0 and number == shape.num_res_blocks:
                step.append(_make_upsampling(width, shape))
            yield step


def _make_upsampling(channels: int, shape: UNetShape) -> nn.Module:
    if shape.resblock_updown:
        return ResidualBlock(channels, channels, shape, Resampling.UP)
    return Upsampling(channels)
