"""CT-CLIP's image tower as one writes it down on first reading: what the stage's own is compared with.

Plain PyTorch, every step on the whole tensor: patches cut from the whole volume; the position bias of all pairs of
positions, evaluated at each forward; scores, softmax and values as three steps; feed-forward and similarities to all
codes in one piece. The same parameters under the same names as the stage's tower, copied into the modules by
`load_state_dict`. Nothing is slowed on purpose: no one-hot of the codes is made (the published quantiser makes one),
layouts are left to PyTorch, and inference mode is on.

Volumes are (b, c, z, x, y), token grids (b, t, h, w, d), sequences (s, n, d).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from workers.ct_clip.configuration import ImageShape

Grid = tuple[int, int, int]


class PatchEmbedding(nn.Module):
    """Blocks of voxels as tokens."""

    def __init__(self, shape: ImageShape) -> None:
        super().__init__()
        self.block = (shape.temporal_patch_size, shape.patch_size, shape.patch_size)
        self.norm = nn.LayerNorm(shape.patch_voxels)
        self.project = nn.Linear(shape.patch_voxels, shape.dim)
        self.project_norm = nn.LayerNorm(shape.dim)

    def forward(self, volume: Tensor) -> Tensor:
        """Return tokens (b, t, h, w, d)."""
        b, c, z, x, y = volume.shape
        slices, rows, columns = self.block
        blocks = volume.view(b, c, z // slices, slices, x // rows, rows, y // columns, columns)
        patches = blocks.permute(0, 2, 4, 6, 1, 3, 5, 7).flatten(4)  # (b, t, h, w, voxels of a patch)
        tokens: Tensor = self.project_norm(self.project(self.norm(patches)))
        return tokens


class PositionBias(nn.Module):
    """The bias of each head for each pair of in-plane positions."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.network = nn.Sequential(
            nn.Linear(2, dim), nn.LeakyReLU(0.1), nn.Linear(dim, dim), nn.LeakyReLU(0.1), nn.Linear(dim, heads)
        )

    def forward(self, size: int) -> Tensor:
        """Return (heads, n, n) for the n = size * size positions of a square."""
        along = torch.arange(size)
        positions = torch.stack(torch.meshgrid(along, along, indexing="ij"), dim=-1).flatten(0, 1).float()
        offsets = positions[:, None] - positions[None, :]  # (n, n, 2)
        bias: Tensor = self.network(offsets.sign() * torch.log(offsets.abs() + 1))
        return bias.permute(2, 0, 1)


class PositionalConvolution(nn.Module):
    """A depthwise convolution over tokens read as a grid, causal along its first axis."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.convolution = nn.Conv3d(dim, dim, kernel_size=3, groups=dim)

    def forward(self, x: Tensor, grid: Grid) -> Tensor:
        """Return what is added to (s, n, d); the reshape is raw in both transformers."""
        volume = x.reshape(-1, *grid, x.shape[-1]).permute(0, 4, 1, 2, 3)
        convolved: Tensor = self.convolution(functional.pad(volume, (1, 1, 1, 1, 2, 0)))
        return convolved.permute(0, 2, 3, 4, 1).reshape(x.shape)


class CosineAttention(nn.Module):
    """softmax(8 cos(q, k) + bias) v."""

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
        """Return what is added to (s, n, d)."""
        key, value = self.key_value(x).chunk(2, dim=-1)
        q, k, v = (self._split(each) for each in (self.query(self.norm(x)), key, value))  # (s, heads, n, dim_head)
        q = functional.normalize(q, dim=-1) * self.query_scale
        k = functional.normalize(k, dim=-1) * self.key_scale
        scores = torch.einsum("shid,shjd->shij", q, k) * 8
        if bias is not None:
            scores = scores + bias
        attended = torch.einsum("shij,shjd->shid", scores.softmax(dim=-1), v)
        output: Tensor = self.output(attended.transpose(1, 2).flatten(2))
        return output

    def _split(self, x: Tensor) -> Tensor:
        return x.view(*x.shape[:2], self.heads, -1).transpose(1, 2)


class FeedForward(nn.Module):
    """Linear, value * GELU(gate), linear, behind a norm."""

    def __init__(self, dim: int, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.expand = nn.Linear(dim, 2 * width, bias=False)
        self.contract = nn.Linear(width, dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return what is added to (s, n, d)."""
        value, gate = self.expand(self.norm(x)).chunk(2, dim=-1)
        contracted: Tensor = self.contract(value * functional.gelu(gate))
        return contracted


class Layer(nn.Module):
    """Three residual parts."""

    def __init__(self, shape: ImageShape) -> None:
        super().__init__()
        self.positions = PositionalConvolution(shape.dim)
        self.attention = CosineAttention(shape.dim, shape.heads, shape.dim_head)
        self.feed_forward = FeedForward(shape.dim, shape.feed_forward_width)

    def forward(self, x: Tensor, grid: Grid, bias: Tensor | None) -> Tensor:
        """Return tokens (s, n, d)."""
        x = x + self.positions(x, grid)
        x = x + self.attention(x, bias)
        fed: Tensor = self.feed_forward(x)
        return x + fed


class Transformer(nn.Module):
    """Layers and a norm."""

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


class CodeBook(nn.Module):
    """The index of the nearest direction; `codes` are looked up as they are."""

    def __init__(self, size: int, dim: int) -> None:
        super().__init__()
        self.codes = nn.Parameter(torch.randn(size, dim))

    def forward(self, tokens: Tensor) -> Tensor:
        """Return indices (...) of tokens (..., d)."""
        similarity = functional.normalize(tokens, dim=-1) @ functional.normalize(self.codes, dim=-1).t()
        return similarity.argmax(dim=-1)


class Encoder(nn.Module):
    """CT-ViT up to the codes."""

    def __init__(self, shape: ImageShape) -> None:
        super().__init__()
        self.patch_embedding = PatchEmbedding(shape)
        self.position_bias = PositionBias(shape.dim, shape.heads)
        self.spatial = Transformer(shape, shape.spatial_depth)
        self.temporal = Transformer(shape, shape.temporal_depth)
        self.code_book = CodeBook(shape.codebook_size, shape.dim)

    def forward(self, volume: Tensor) -> Tensor:
        """Return code indices (b, t, h, w)."""
        x = self.patch_embedding(volume)
        b, t, h, w, d = x.shape
        x = self.spatial(x.reshape(b * t, h * w, d), (t, h, w), self.position_bias(h))
        x = x.view(b, t, h * w, d).transpose(1, 2).reshape(b * h * w, t, d)
        x = self.temporal(x, (t, h, w))
        x = x.view(b, h, w, t, d).permute(0, 3, 1, 2, 4)
        indices: Tensor = self.code_book(x)
        return indices


class ImageTower(nn.Module):
    """From a volume to its codes and its latent."""

    def __init__(self, shape: ImageShape, dim_latent: int) -> None:
        super().__init__()
        self.encoder = Encoder(shape)
        self.projection = nn.Linear(shape.pooled_size, dim_latent, bias=False)

    def forward(self, volume: Tensor) -> tuple[Tensor, Tensor]:
        """Return code indices (b, t, h, w) and latents (b, dim_latent) of length one."""
        indices = self.encoder(volume)
        pooled = self.encoder.code_book.codes[indices].mean(dim=1).flatten(1)
        return indices, functional.normalize(self.projection(pooled), dim=-1)
