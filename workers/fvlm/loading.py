"""The image side with exactly the given weights. What inference with stored text latents needs: no transformers."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from workers.ct_clip.loading import fill, take_side
from workers.fvlm.configuration import Architecture
from workers.fvlm.image_tower import ImageTower


def make_image_tower(architecture: Architecture, tensors: Mapping[str, Tensor]) -> ImageTower:
    """Return the image side alone, ready for inference; keys as in the whole network."""
    with torch.device("meta"):
        tower = ImageTower(architecture.image, architecture.dim_latent)
    return fill(tower, take_side(tensors, "image."), "fVLM's image side")
