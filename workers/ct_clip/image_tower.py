"""From a volume to its latent: CT-ViT, mean over slices, projection to the space that image and text share."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from workers.ct_clip.configuration import ImageShape
from workers.ct_clip.ctvit import CTViT


@dataclass(frozen=True)
class Encoding:
    """What the image tower makes of volumes: `codes` (b, t, h, w) int64, `latents` (b, dim_latent) of length one."""

    codes: Tensor
    latents: Tensor


class ImageTower(nn.Module):
    """The image side of CT-CLIP. The classifiers stand on it alone, without the text."""

    def __init__(self, shape: ImageShape, dim_latent: int) -> None:
        super().__init__()
        self.encoder = CTViT(shape)
        self.projection = nn.Linear(shape.pooled_size, dim_latent, bias=False)

    def forward(self, volume: Tensor) -> Tensor:
        """Return latents (b, dim_latent) of length one of prepared volumes (b, c, z, x, y)."""
        latents = volume
        for _, activation in self.iterate_activations(volume):
            latents = activation
        return latents

    def encode(self, volume: Tensor) -> Encoding:
        """Return codes and latents of prepared volumes (b, c, z, x, y)."""
        codes = latents = volume
        for name, activation in self.iterate_activations(volume):
            codes = activation if name == "vq_indices" else codes
            latents = activation
        return Encoding(codes, latents)

    def iterate_activations(self, volume: Tensor) -> Iterator[tuple[str, Tensor]]:
        """Yield the name and the output of each step, `image_latents` last."""
        tokens = volume
        for name, activation in self.encoder.iterate_activations(volume):
            yield name, activation
            tokens = activation
        yield from self._iterate_projection(tokens)

    def project(self, tokens: Tensor) -> Tensor:
        """Return latents (b, dim_latent) of length one of quantised tokens (b, t, h, w, d)."""
        return dict(self._iterate_projection(tokens))["image_latents"]

    def _iterate_projection(self, tokens: Tensor) -> Iterator[tuple[str, Tensor]]:
        pooled = tokens.mean(dim=1).flatten(1)  # (b, h * w * d)
        yield "pooled_image", pooled
        with torch.autocast(pooled.device.type, enabled=False):  # it reads its weights once: half of them saves nothing
            raw = self.projection(pooled)
        yield "image_latents_raw", raw
        yield "image_latents", functional.normalize(raw, dim=-1)
