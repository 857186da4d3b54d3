"""The contracting half, which both networks have: levels of residual blocks, each level half the size of the last.

Papers:  Ronneberger et al., "U-Net", arXiv 1505.04597; Dhariwal and Nichol, arXiv 2105.05233.
Licence: code ours (Apache-2.0), written from the papers and a description of the weights.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from workers.diffusion.blocks import Downsampling, Resampling, ResidualBlock, SelfAttention, Step
from workers.diffusion.configuration import NetworkShape


class Encoder(nn.Module):
    """Steps down to the smallest image, and the middle. `widths` are the channels that each step returns."""

    def __init__(self, shape: NetworkShape) -> None:
        super().__init__()
        self.widths: list[int] = []
        self.steps = nn.ModuleList(self._iterate_steps(shape))
        channels = shape.deepest_channels
        self.middle = Step(
            [
                ResidualBlock(channels, channels, shape),
                SelfAttention(channels, shape),
                ResidualBlock(channels, channels, shape),
            ]
        )

    def forward(self, image: Tensor, embedding: Tensor) -> Iterator[Tensor]:
        """Yield what each step returns, the middle last."""
        x = self._lay_out(image)
        for step in self.steps:
            x = step(x, embedding)
            yield x
        yield self.middle(x, embedding)

    def _lay_out(self, image: Tensor) -> Tensor:
        """Return the same images with the strides of channels that come last, where those of the weights do.

        One channel has two orders of strides and torch takes it for the other one: the first convolution answered in
        that, and all behind it reordered their images, a third of the classifier's time on a CPU.
        """
        kernel = next(each for each in self.middle.parameters() if each.ndim == image.ndim)
        if kernel.is_contiguous():
            return image
        return torch.empty_like(image, memory_format=torch.channels_last).copy_(image)

    def _iterate_steps(self, shape: NetworkShape) -> Iterator[Step]:
        channels = shape.model_channels
        yield self._note(channels, Step([nn.Conv2d(shape.in_channels, channels, 3, padding=1)]))
        for level, multiple in enumerate(shape.channel_mult):
            width = multiple * shape.model_channels
            for _ in range(shape.num_res_blocks):
                yield self._note(width, make_step(channels, width, 2**level, shape))
                channels = width
            if level < len(shape.channel_mult) - 1:
                yield self._note(width, Step([_make_downsampling(width, shape)]))

    def _note(self, width: int, step: Step) -> Step:
        self.widths.append(width)
        return step


def make_step(inputs: int, outputs: int, factor: int, shape: NetworkShape) -> Step:
    """Return a residual block, with attention behind it where images of this down-factor attend."""
    step = Step([ResidualBlock(inputs, outputs, shape)])
    if factor in shape.attention_resolutions:
        step.append(SelfAttention(outputs, shape))
    return step


def _make_downsampling(channels: int, shape: NetworkShape) -> nn.Module:
    if shape.resblock_updown:
        return ResidualBlock(channels, channels, shape, Resampling.DOWN)
    return Downsampling(channels)
