"""fVLM's image side as its specification reads: scores held whole, positions resized each time, all tokens everywhere.

Written for the comparison, from the same description of the weights; shares no code with `workers.fvlm`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.nn import functional

_HEADS, _POOL_HEADS = 12, 4
_LEVELS = (3, 6, 9)
_PATCH, _GRID = (16, 16, 32), (7, 16, 11)


class PlainImageSide:
    """The image side on tensors with their published names."""

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        self._tensors = tensors

    def encode(self, window: Tensor) -> Tensor:
        """Return the tokens of the four levels (4 * n, d) of one window (1, 1, z, y, x)."""
        tokens = self._embed(window)
        levels = []
        for number in range(12):
            block = f"visual_encoder.blocks.{number}"
            tokens = tokens + self._attend(f"{block}.attn", self._norm(f"{block}.norm1", tokens))
            tokens = tokens + self._feed_forward(f"{block}.mlp", self._norm(f"{block}.norm2", tokens))
            if number in _LEVELS:
                levels.append(tokens)
        return torch.stack([*levels, self._norm("visual_encoder.norm", tokens)])

    def read_organ(self, levels: Tensor, row: int, token_mask: Tensor) -> Tensor:
        """Return the latent (256,) of an organ from the levels (4, n, d) and its tokens (n,)."""
        rows = levels[:, token_mask].flatten(0, 1)
        dim = rows.shape[1]
        weights, biases = self._tensors["attention.in_proj_weight"], self._tensors["attention.in_proj_bias"]
        asked = self._tensors["query_tokens"][row : row + 1]
        query, key, value = (
            functional.linear(each, weights[part], biases[part]).view(len(each), _POOL_HEADS, -1).transpose(0, 1)
            for each, part in zip((asked, rows, rows), _thirds(dim), strict=True)
        )
        pooled = _attend_plainly(query, key, value).transpose(0, 1).flatten(1)
        projected = self._linear(f"vision_projs.{row}", self._linear("attention.out_proj", pooled))
        return functional.normalize(projected, dim=-1)[0]

    def _embed(self, window: Tensor) -> Tensor:
        name = "visual_encoder.patch_embedding"
        weight, bias = (self._tensors[f"{name}.patch_embeddings.{leaf}"] for leaf in ("weight", "bias"))
        patches = functional.conv3d(window, weight, bias, stride=_PATCH)
        table = self._tensors[f"{name}.position_embeddings"].transpose(1, 2).reshape(1, -1, *_GRID)
        positions = functional.interpolate(table, patches.shape[2:], mode="trilinear", align_corners=False)
        return (patches + positions).flatten(2)[0].t()

    def _attend(self, name: str, tokens: Tensor) -> Tensor:
        split = self._linear(f"{name}.qkv", tokens).view(len(tokens), 3, _HEADS, -1).permute(1, 2, 0, 3)
        attended = _attend_plainly(*split)
        return self._linear(f"{name}.out_proj", attended.transpose(0, 1).flatten(1))

    def _feed_forward(self, name: str, tokens: Tensor) -> Tensor:
        return self._linear(f"{name}.linear2", functional.gelu(self._linear(f"{name}.linear1", tokens)))

    def _norm(self, name: str, tokens: Tensor) -> Tensor:
        return functional.layer_norm(
            tokens, tokens.shape[-1:], self._tensors[f"{name}.weight"], self._tensors[f"{name}.bias"]
        )

    def _linear(self, name: str, tokens: Tensor) -> Tensor:
        return functional.linear(tokens, self._tensors[f"{name}.weight"], self._tensors[f"{name}.bias"])


def _attend_plainly(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Return what queries (heads, n, d) find among keys and values (heads, m, d)."""
    scores = query @ key.transpose(1, 2) * query.shape[-1] ** -0.5
    attended: Tensor = scores.softmax(dim=-1) @ value
    return attended


def _thirds(dim: int) -> Sequence[slice]:
    return [slice(part * dim, (part + 1) * dim) for part in range(3)]
