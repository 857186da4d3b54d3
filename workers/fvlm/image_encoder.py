"""From a window to tokens at four depths: a plain 3-D vision transformer without a class token.

Papers:  Dosovitskiy et al., "An Image is Worth 16x16 Words", arXiv 2010.11929; He et al., "Masked Autoencoders Are
         Scalable Vision Learners", arXiv 2111.06377 (whose weights fVLM's training starts from).
Licence: code ours (Apache-2.0), written from the papers and a description of the weights.
Ours:    fused attention; positions are interpolated once for each grid; the last block computes only what is asked for.

Windows are (b, 1, z, y, x) voxels, tokens (b, n, d) in the order (z, y, x).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from workers.fvlm.configuration import ImageShape, Triple

_FINAL = "final_norm"

_CACHED_GRIDS = 16
"""Grids whose positions are kept: 4 MB each at the published size."""


class PatchEmbedding(nn.Module):
    """Patches by a strided convolution, and the learned position of each."""

    def __init__(self, shape: ImageShape) -> None:
        super().__init__()
        self.shape = shape
        self.project = nn.Conv3d(1, shape.dim, kernel_size=shape.patch_size, stride=shape.patch_size)
        self.positions = nn.Parameter(torch.zeros(1, shape.positions, shape.dim))
        self._by_grid: dict[Triple, Tensor] = {}

    def forward(self, window: Tensor) -> Tensor:
        """Return tokens (b, n, d) without their positions."""
        # The bias comes last: begun with it, the sum over 8192 voxels rounds otherwise than the reference, by 1e-5.
        bias = self.project.bias
        assert bias is not None
        tokens = functional.conv3d(window, self.project.weight, stride=self.shape.patch_size)
        return tokens.flatten(2).transpose(1, 2) + bias

    def get_positions(self, grid: Triple) -> Tensor:
        """Return the positions (1, n, d) of a grid; kept for the next time where the weights are frozen."""
        if self.positions.requires_grad:
            return self._interpolate(grid)
        if grid not in self._by_grid:
            if len(self._by_grid) >= _CACHED_GRIDS:
                self._by_grid.clear()
            self._by_grid[grid] = self._interpolate(grid)
        return self._by_grid[grid]

    def _interpolate(self, grid: Triple) -> Tensor:
        if grid == self.shape.position_grid:
            return self.positions
        table = self.positions.transpose(1, 2).reshape(1, -1, *self.shape.position_grid)
        resized = functional.interpolate(table, grid, mode="trilinear", align_corners=False)
        return resized.flatten(2).transpose(1, 2).contiguous()


class Attention(nn.Module):
    """Multi-head self-attention, queries, keys and values from one linear layer."""

    def __init__(self, shape: ImageShape) -> None:
        super().__init__()
        self.heads = shape.heads
        self.query_key_value = nn.Linear(shape.dim, 3 * shape.dim)
        self.output = nn.Linear(shape.dim, shape.dim)

    def forward(self, x: Tensor, kept: Tensor | None = None) -> Tensor:
        """Return what is added to tokens (b, n, d), or to the `kept` (bool (n,)) of them."""
        query, key, value = self._project(x) if kept is None else self._project_apart(x, kept)
        attended = functional.scaled_dot_product_attention(query, key, value)
        output: Tensor = self.output(attended.transpose(1, 2).flatten(2))
        return output

    def _project(self, x: Tensor) -> Sequence[Tensor]:
        split: Tensor = self.query_key_value(x).view(*x.shape[:2], 3, self.heads, -1)  # (b, n, 3, heads, d/heads)
        return split.permute(2, 0, 3, 1, 4).unbind()

    def _project_apart(self, x: Tensor, kept: Tensor) -> Sequence[Tensor]:
        """Return queries of the kept tokens, keys and values of all."""
        dim, weight, bias = x.shape[-1], self.query_key_value.weight, self.query_key_value.bias
        query = functional.linear(x[:, kept], weight[:dim], bias[:dim])
        both = functional.linear(x, weight[dim:], bias[dim:]).view(*x.shape[:2], 2, self.heads, -1)
        return query.view(*query.shape[:2], self.heads, -1).transpose(1, 2), *both.permute(2, 0, 3, 1, 4)


class FeedForward(nn.Module):
    """Linear, GELU, linear."""

    def __init__(self, shape: ImageShape) -> None:
        super().__init__()
        self.expand = nn.Linear(shape.dim, shape.mlp_dim)
        self.contract = nn.Linear(shape.mlp_dim, shape.dim)

    def forward(self, x: Tensor) -> Tensor:
        """Return what is added to tokens (b, n, d)."""
        contracted: Tensor = self.contract(functional.gelu(self.expand(x)))
        return contracted


class Block(nn.Module):
    """One block: attention and feed-forward, each behind a norm and added to what it is given."""

    def __init__(self, shape: ImageShape) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(shape.dim, eps=shape.layer_norm_eps)
        self.attention = Attention(shape)
        self.feed_forward_norm = nn.LayerNorm(shape.dim, eps=shape.layer_norm_eps)
        self.feed_forward = FeedForward(shape)

    def forward(self, x: Tensor, kept: Tensor | None = None) -> Tensor:
        """Return tokens (b, n, d), or the `kept` (bool (n,)) of them."""
        attended = self.attention(self.attention_norm(x), kept)
        x = (x if kept is None else x[:, kept]) + attended
        fed: Tensor = self.feed_forward(self.feed_forward_norm(x))
        return x + fed


class ImageEncoder(nn.Module):
    """The vision transformer."""

    def __init__(self, shape: ImageShape) -> None:
        super().__init__()
        self.shape = shape
        self.patch_embedding = PatchEmbedding(shape)
        self.blocks = nn.ModuleList(Block(shape) for _ in range(shape.depth))
        self.norm = nn.LayerNorm(shape.dim, eps=shape.layer_norm_eps)

    def forward(self, window: Tensor, kept: Tensor | None = None) -> Tensor:
        """Return the tokens of every level (b, levels, n, d), the final one last; or the `kept` (bool (n,)) of them."""
        last = name_block(len(self.blocks) - 1)
        levels = {*(name_block(number) for number in self.shape.levels), _FINAL}
        found = []
        for name, tokens in self.iterate_activations(window, kept):
            if name in levels:
                found.append(tokens if kept is None or name in {last, _FINAL} else tokens[:, kept])
        return torch.stack(found, dim=1)

    def iterate_activations(self, window: Tensor, kept: Tensor | None = None) -> Iterator[tuple[str, Tensor]]:
        """Yield the name and the output (b, n, d) of each step; `positions` is (1, n, d).

        With `kept` (bool (n,)) the last block computes those tokens alone: nothing but the organs reads the others.
        """
        tokens = self.patch_embedding(window)
        yield "patch_embedding", tokens
        positions = self.patch_embedding.get_positions(self.shape.compute_grid(window.shape[2:]))
        yield "positions", positions
        tokens = tokens + positions
        yield "embedded", tokens
        for number, block in enumerate(self.blocks):
            is_last = number == len(self.blocks) - 1
            tokens = block(tokens, kept if is_last else None)
            yield name_block(number), tokens
        # Only the last level is normalised: so the published weights were trained.
        yield _FINAL, self.norm(tokens)


def name_block(number: int) -> str:
    """Return what the output of a block is called."""
    return f"block_{number:02d}"
