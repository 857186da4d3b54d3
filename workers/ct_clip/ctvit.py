"""CT-ViT, the image encoder of CT-CLIP: a chest CT as a grid of codes.

Papers:  Hamamci et al., "GenerateCT: Text-Conditional Generation of 3D Chest CT Volumes", ECCV 2024, arXiv 2305.16037
         (CT-ViT); van den Oord et al., "Neural Discrete Representation Learning", arXiv 1711.00937 (code book), with
         cosine similarity after Yu et al., arXiv 2110.04627.
Licence: code ours (Apache-2.0), written from the papers and a description of the weights. The published weights are
         CC BY-NC-SA 4.0: imported by the operator, never shipped.
Ours:    only what inference needs (no decoder, no first-frame layer, no code book statistics); patches are embedded
         slab by slab and codes searched in pieces, so that no copy of the volume and no one-hot of the codes is made.

Volumes are (b, c, z, x, y): slices first, then x and y as NIfTI orders them. Token grids are (b, t, h, w, d).
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional

from workers.ct_clip.configuration import ImageShape
from workers.ct_clip.transformer import PositionBias, Transformer

_CHUNK_TOKENS = 1024
"""Tokens compared with all codes at once (32 MB of similarities at the published size)."""


class PatchEmbedding(nn.Module):
    """Blocks of voxels as tokens: norm, linear, norm."""

    def __init__(self, shape: ImageShape) -> None:
        super().__init__()
        self._block = (shape.temporal_patch_size, shape.patch_size, shape.patch_size)
        self.norm = nn.LayerNorm(shape.patch_voxels)
        self.project = nn.Linear(shape.patch_voxels, shape.dim)
        self.project_norm = nn.LayerNorm(shape.dim)

    def forward(self, volume: Tensor) -> Tensor:
        """Return tokens (b, t, h, w, d) of volumes (b, c, z, x, y)."""
        slabs = torch.split(volume, self._block[0], dim=2)
        return torch.stack([self._embed(slab) for slab in slabs], dim=1)

    def _embed(self, slab: Tensor) -> Tensor:
        b, c, slices, x, y = slab.shape
        _, rows, columns = self._block
        blocks = slab.reshape(b, c, slices, x // rows, rows, y // columns, columns)
        patches = blocks.permute(0, 3, 5, 1, 2, 4, 6).flatten(3)  # (b, h, w, c * slice * row * column)
        tokens: Tensor = self.project_norm(self.project(self.norm(patches)))
        return tokens


class CodeBook(nn.Module):
    """Codes; a token becomes the code whose direction is nearest to its own."""

    def __init__(self, size: int, dim: int) -> None:
        super().__init__()
        # Uniform, not normal: on the meta device a normal costs the import of torch's decompositions, half a second.
        self.codes = nn.Parameter(nn.init.kaiming_uniform_(torch.empty(size, dim)))

    def find_codes(self, tokens: Tensor) -> Tensor:
        """Return the index of the nearest code for each token of (..., d), compared in float32."""
        with torch.autocast(tokens.device.type, enabled=False):
            directions = functional.normalize(self.codes.float(), dim=-1).t()
            found = [
                (functional.normalize(piece.float(), dim=-1) @ directions).argmax(dim=-1)
                for piece in torch.split(tokens.flatten(0, -2), _CHUNK_TOKENS)
            ]
        return torch.cat(found).view(tokens.shape[:-1])

    def forward(self, indices: Tensor) -> Tensor:
        """Return the codes (..., d) as they are stored, not normalised."""
        return self.codes[indices]


class CTViT(nn.Module):
    """Patches, attention within each slab of slices, attention along the slabs, code book."""

    def __init__(self, shape: ImageShape) -> None:
        super().__init__()
        self.shape = shape
        self.patch_embedding = PatchEmbedding(shape)
        self.position_bias = PositionBias(shape.dim, shape.heads)
        self.spatial = Transformer(shape, shape.spatial_depth)
        self.temporal = Transformer(shape, shape.temporal_depth)
        self.code_book = CodeBook(shape.codebook_size, shape.dim)

    def forward(self, volume: Tensor) -> Tensor:
        """Return quantised tokens (b, t, h, w, d) of prepared volumes (b, c, z, x, y)."""
        tokens = volume
        for _, activation in self.iterate_activations(volume):
            tokens = activation
        return tokens

    def iterate_activations(self, volume: Tensor) -> Iterator[tuple[str, Tensor]]:
        """Yield the name and the output of each step, `quantized_tokens` last."""
        # In bfloat16 the sums of the residuals, and with them the last norm, stay in float32.
        x = self.patch_embedding(volume).float()  # (b, t, h, w, d)
        yield "patch_embedding", x
        b, t, h, w, _ = x.shape
        bias = self.position_bias(h)
        yield "spatial_position_bias", bias
        x = self.spatial(x.flatten(2, 3).flatten(0, 1), (t, h, w), bias)  # (b t, h w, d)
        yield "spatial_transformer_out", x
        x = x.view(b, t, h * w, -1).transpose(1, 2).flatten(0, 1)  # (b h w, t, d)
        x = self.temporal(x, (t, h, w))
        yield "temporal_transformer_out", x
        x = x.view(b, h, w, t, -1).movedim(3, 1)  # (b, t, h, w, d)
        yield "encoded_tokens", x
        indices = self.code_book.find_codes(x)  # (b, t, h, w)
        yield "vq_indices", indices
        yield "quantized_tokens", self.code_book(indices)  # (b, t, h, w, d)
