"""Building blocks of the noise predictor and of the slice classifier.

Papers:  Dhariwal and Nichol, "Diffusion Models Beat GANs on Image Synthesis", arXiv 2105.05233 (residual blocks with
         adaptive group norm, attention at several resolutions); Ho et al., "Denoising Diffusion Probabilistic Models",
         arXiv 2006.11239 (time embedding); Vaswani et al., arXiv 1706.03762 (attention).
Licence: code ours (Apache-2.0), written from the papers and a description of the weights.
Ours:    fused attention; one time for a whole batch is embedded once.

Images are (b, c, x, y), embeddings of times (b, e), or (1, e) where all images have the same time.
"""

from __future__ import annotations

import math
from enum import StrEnum

import torch
from torch import Tensor, nn
from torch.nn import functional

from workers.diffusion.configuration import NORM_GROUPS, NetworkShape

_LONGEST_PERIOD = 10_000.0


class Resampling(StrEnum):
    """What a residual block does to the size of the image."""

    NONE = "none"
    DOWN = "down"
    UP = "up"


class TimeEmbedding(nn.Module):
    """Cosines and sines of a time, through two linear layers."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels
        self.first = nn.Linear(channels, 4 * channels)
        self.second = nn.Linear(4 * channels, 4 * channels)

    def forward(self, times: Tensor) -> Tensor:
        """Return embeddings (b, 4 * channels) of times (b,)."""
        half = self.channels // 2
        places = torch.arange(half, dtype=torch.float32, device=times.device) / half
        angles = times[:, None].float() * torch.exp(-math.log(_LONGEST_PERIOD) * places)
        waves = torch.cat([angles.cos(), angles.sin()], dim=-1)
        embedded: Tensor = self.second(functional.silu(self.first(waves)))
        return embedded


class Norm(nn.GroupNorm):
    """Group norm of 32 groups, in float32 whatever the precision of the image."""

    def __init__(self, channels: int) -> None:
        super().__init__(NORM_GROUPS, channels)

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002  # torch's name
        """Return the normalised image."""
        return super().forward(input.float()).type(input.dtype)

    def modulate(self, x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
        """Return the normalised image times 1 + scale, plus shift, both (b, c) or (1, c)."""
        if len(scale) > 1:
            modulated: Tensor = self(x) * (1 + scale)[..., None, None] + shift[..., None, None]
            return modulated
        # One time for all images goes into the norm: a tenth of the classifier's time on a CPU.
        weight, bias = self.weight * (1 + scale[0]), self.bias * (1 + scale[0]) + shift[0]
        return functional.group_norm(x.float(), self.num_groups, weight, bias, self.eps).type(x.dtype)


class Downsampling(nn.Module):
    """A convolution with stride 2."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.strided = nn.Conv2d(channels, channels, 3, stride=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Return images of half the size."""
        halved: Tensor = self.strided(x)
        return halved


class Upsampling(nn.Module):
    """Each pixel four times, then a convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Return images of twice the size."""
        doubled: Tensor = self.convolution(_resample(x, Resampling.UP))
        return doubled


class ResidualBlock(nn.Module):
    """Two convolutions; the time scales and shifts what lies between them."""

    def __init__(
        self, inputs: int, outputs: int, shape: NetworkShape, resampling: Resampling = Resampling.NONE
    ) -> None:
        super().__init__()
        self.resampling = resampling
        self.first_norm = Norm(inputs)
        self.first_convolution = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.modulation = nn.Linear(shape.embedding_channels, 2 * outputs)
        self.second_norm = Norm(outputs)
        self.dropout = nn.Dropout(shape.dropout)
        self.second_convolution = nn.Conv2d(outputs, outputs, 3, padding=1)
        self.skip = nn.Identity() if inputs == outputs else nn.Conv2d(inputs, outputs, 1)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """Return images (b, outputs, x, y)."""
        h = _resample(_activate(self.first_norm(x)), self.resampling)
        h = self.first_convolution(h)
        scale, shift = self.modulation(functional.silu(embedding)).chunk(2, dim=1)
        h = self.second_norm.modulate(h, scale, shift)
        h = self.second_convolution(self.dropout(_activate(h)))
        return _add(h, self.skip(_resample(x, self.resampling)))


class SelfAttention(nn.Module):
    """Every position looks at every other one."""

    def __init__(self, channels: int, shape: NetworkShape) -> None:
        super().__init__()
        self.heads = shape.count_heads(channels)
        self.parts_first = shape.use_new_attention_order
        self.norm = Norm(channels)
        self.query_key_value = nn.Conv1d(channels, 3 * channels, 1)
        self.output = nn.Conv1d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return images (b, c, x, y)."""
        tokens = self.norm(x).flatten(2).transpose(1, 2)  # (b, n, c)
        projected = project(self.query_key_value, tokens)
        query, key, value = split_heads(projected, self.heads, parts_first=self.parts_first)
        attended = functional.scaled_dot_product_attention(query, key, value)
        output = project(self.output, join_heads(attended))
        added: Tensor = x + output.reshape(len(x), *x.shape[2:], -1).movedim(-1, 1)
        return added


def project(layer: nn.Conv1d, tokens: Tensor) -> Tensor:
    """Return tokens (b, n, outputs) of (b, n, inputs).

    The weights are published as those of a convolution over single tokens. With the channels last, the fused attention
    takes what comes out as it lies.
    """
    return functional.linear(tokens, layer.weight[..., 0], layer.bias)


def split_heads(projected: Tensor, heads: int, *, parts_first: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Return query, key and value (b, heads, n, c / heads) of (b, n, 3c).

    The channels are divided into query, key and value first, or into heads first as in older weights.
    """
    divided = (3, heads) if parts_first else (heads, 3)
    parts = projected.view(*projected.shape[:2], *divided, -1).unbind(2 if parts_first else 3)  # (b, n, heads, c/heads)
    query, key, value = (part.transpose(1, 2) for part in parts)
    return query, key, value


def join_heads(attended: Tensor) -> Tensor:
    """Return tokens (b, n, c) of (b, heads, n, c / heads)."""
    return attended.transpose(1, 2).flatten(2)


class Step(nn.ModuleList):
    """Modules that run one after the other; only residual blocks are told the time."""

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """Return images (b, c, x, y)."""
        for module in self:
            x = module(x, embedding) if isinstance(module, ResidualBlock) else module(x)
        return x


def _activate(x: Tensor) -> Tensor:
    """Return SiLU of an image that nobody else holds: in its place, while nobody wants gradients."""
    return functional.silu(x, inplace=not torch.is_grad_enabled())


def _add(x: Tensor, y: Tensor) -> Tensor:
    """Return the sum of an image that nobody else holds and another: in its place, while nobody wants gradients."""
    return x + y if torch.is_grad_enabled() else x.add_(y)


def _resample(x: Tensor, resampling: Resampling) -> Tensor:
    match resampling:
        case Resampling.DOWN:
            return functional.avg_pool2d(x, 2)
        case Resampling.UP:
            return functional.interpolate(x, scale_factor=2.0, mode="nearest")
    return x
