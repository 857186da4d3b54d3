"""The transformer of CT-ViT: positions by convolution, cosine attention, gated feed-forward, each with a residual.

Papers:  Villegas et al., "Phenaki" (C-ViViT), arXiv 2210.02399, whose encoder CT-ViT follows. Conditional positional
         encoding: Chu et al., arXiv 2102.10882. Cosine attention: Henry et al., "Query-Key Normalization", arXiv
         2010.04245. Continuous position bias: Liu et al., "Swin Transformer V2", arXiv 2111.09883. Gated feed-forward:
         Shazeer, "GLU Variants Improve Transformer", arXiv 2002.05202.
Licence: code ours (Apache-2.0), written from the papers and a description of the weights.
Ours:    fused attention; the bias is computed once per distinct offset; the feed-forward runs in pieces.

Tokens are (s, n, d): sequences, tokens of a sequence, channels. A grid is (t, h, w) in patches.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from workers.ct_clip.configuration import ImageShape

Grid = tuple[int, int, int]

ATTENTION_SCALE = 8.0
"""Factor of the cosine between query and key, fixed in the published weights whatever the width of a head."""

_BIAS_SLOPE = 0.1
_CHUNK_TOKENS = 1024
"""Tokens whose expansion is held at once: 11 MB at the published width, a fifth faster than all 13 824."""

_CACHE_LINE = 16
"""Numbers of float32 that a cache line holds."""


class PositionalConvolution(nn.Module):
    """A depthwise 3 x 3 x 3 convolution that looks back along the first axis and both ways along the others."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.convolution = nn.Conv3d(dim, dim, kernel_size=3, groups=dim)

    def forward(self, x: Tensor, grid: Grid) -> Tensor:
        """Return what is added to tokens (s, n, d).

        The tokens are read as (b, t, h, w, d) in the order in which they lie in memory. In the temporal transformer
        they lie as (b, h, w, t), so there the axes carry wrong names and, on a grid that is no cube, neighbours are
        not neighbours. The published weights were trained so; a permutation here would break them.
        """
        volume = x.reshape(-1, *grid, x.shape[-1]).movedim(-1, 1)  # (b, d, t, h, w)
        padded = functional.pad(volume, (1, 1, 1, 1, 2, 0))
        convolved: Tensor = self.convolution(padded)
        return convolved.movedim(1, -1).reshape(x.shape)


class CosineAttention(nn.Module):
    """softmax(8 cos(q, k) + bias) v, with a learned scale for each channel of q and k."""

    def __init__(self, dim: int, heads: int, dim_head: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(dim)
        self.query = nn.Linear(dim, heads * dim_head, bias=False)
        self.key_value = nn.Linear(dim, 2 * heads * dim_head, bias=False)
        self.query_scale = nn.Parameter(torch.ones(dim_head))
        self.key_scale = nn.Parameter(torch.ones(dim_head))
        self.output = nn.Linear(heads * dim_head, dim, bias=False)

    def forward(self, x: Tensor, bias: Tensor | None) -> Tensor:
        """Return what is added to tokens (s, n, d); `bias` is (heads, n, n)."""
        # Keys and values come from the input as it is before the norm: so the published weights were trained.
        key, value = self.key_value(x).chunk(2, dim=-1)
        q, k, v = (self._split(each) for each in (self.query(self.norm(x)), key, value))  # (s, heads, n, d/heads)
        q = functional.normalize(q, dim=-1) * self.query_scale
        k = functional.normalize(k, dim=-1) * self.key_scale
        # With three dimensions the mask would fall out of the fused kernel, and all scores would be held at once.
        mask = None if bias is None else bias[None]
        attended = functional.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=ATTENTION_SCALE)
        output: Tensor = self.output(attended.transpose(1, 2).flatten(2))  # (s, n, d)
        return output

    def _split(self, x: Tensor) -> Tensor:
        return x.view(*x.shape[:-1], self.heads, -1).transpose(1, 2)


class FeedForward(nn.Module):
    """Linear, value * GELU(gate), linear; all without bias, behind a norm."""

    def __init__(self, dim: int, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.expand = nn.Linear(dim, 2 * width, bias=False)
        self.contract = nn.Linear(width, dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return what is added to tokens (s, n, d)."""
        pieces = [self._run(piece) for piece in torch.split(x.flatten(0, 1), _CHUNK_TOKENS)]
        return torch.cat(pieces).view(x.shape)

    def _run(self, x: Tensor) -> Tensor:
        value, gate = self._expand(self.norm(x))
        contracted: Tensor = self.contract(value * functional.gelu(gate))
        return contracted

    def _expand(self, x: Tensor) -> Sequence[Tensor]:
        """Return value and gate, both (n, width), of tokens (n, d)."""
        is_plain = x.device.type == "cpu" and not torch.is_autocast_enabled("cpu") and not torch.compiler.is_compiling()
        if torch.is_grad_enabled() or not is_plain:
            halves: Sequence[Tensor] = self.expand(x).chunk(2, dim=-1)
            return halves
        # Rows of 1365 numbers begin at odd places; begun on cache lines, the feed-forward takes 0.75 of the time.
        width = self.contract.in_features
        rows = x.new_empty(2, len(x), -(-width // _CACHE_LINE) * _CACHE_LINE)[..., :width]
        weights = self.expand.weight.view(2, width, -1)
        return [torch.mm(x, weight.t(), out=half) for weight, half in zip(weights, rows, strict=True)]


class Layer(nn.Module):
    """One layer: each of its three parts is added to what it is given."""

    def __init__(self, shape: ImageShape) -> None:
        super().__init__()
        self.positions = PositionalConvolution(shape.dim)
        self.attention = CosineAttention(shape.dim, shape.heads, shape.dim_head)
        self.feed_forward = FeedForward(shape.dim, shape.feed_forward_width)

    def forward(self, x: Tensor, grid: Grid, bias: Tensor | None) -> Tensor:
        """Return tokens (s, n, d)."""
        x = x + self.positions(x, grid)
        attended: Tensor = x + self.attention(x, bias)
        fed: Tensor = self.feed_forward(attended)
        return attended + fed


class Transformer(nn.Module):
    """Layers and a norm, over sequences of tokens of one grid."""

    def __init__(self, shape: ImageShape, depth: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(Layer(shape) for _ in range(depth))
        self.norm = nn.LayerNorm(shape.dim)

    def forward(self, x: Tensor, grid: Grid, bias: Tensor | None = None) -> Tensor:
        """Return tokens (s, n, d)."""
        for layer in self.layers:
            x = layer(x, grid, bias)
        normalised: Tensor = self.norm(x)
        return normalised


class PositionBias(nn.Module):
    """The bias of each head for each pair of in-plane positions, from their signed logarithmic offset."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.network = nn.Sequential(
            nn.Linear(2, dim),
            nn.LeakyReLU(_BIAS_SLOPE),
            nn.Linear(dim, dim),
            nn.LeakyReLU(_BIAS_SLOPE),
            nn.Linear(dim, heads),
        )

    def forward(self, size: int) -> Tensor:
        """Return (heads, n, n) for the n = size * size positions of a square, row by row.

        Only (2 * size - 1) ** 2 offsets are different, so the network sees each once.
        """
        weight = next(self.parameters())
        offsets = torch.arange(1 - size, size, device=weight.device)
        pairs = torch.cartesian_prod(offsets, offsets).to(weight.dtype)  # row, column
        by_offset: Tensor = self.network(pairs.sign() * torch.log(pairs.abs() + 1))
        by_offset = by_offset.view(len(offsets), len(offsets), -1)
        positions = torch.arange(size, device=offsets.device)
        between = positions[:, None] - positions[None, :] + size - 1  # (i, j) -> index of the offset i - j
        bias = by_offset[
            between[:, None, :, None], between[None, :, None, :]
        ]  # (row i, column i, row j, column j, heads)
        return bias.flatten(2, 3).flatten(0, 1).movedim(-1, 0).contiguous()
