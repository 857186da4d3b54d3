"""Putting tensors into networks, strictly and without a copy. What the image side alone needs: no transformers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

import torch
from torch import Tensor, nn

from model_weights.matching import require_fit
from shared.errors import Defect
from workers.ct_clip.configuration import Architecture
from workers.ct_clip.image_tower import ImageTower

_NAMES_SHOWN = 8

_Network = TypeVar("_Network", bound=nn.Module)


def make_image_tower(architecture: Architecture, tensors: Mapping[str, Tensor]) -> ImageTower:
    """Return the image side alone with exactly these weights, ready for inference; keys as in the whole network."""
    with torch.device("meta"):
        tower = ImageTower(architecture.image, architecture.dim_latent)
    return fill(tower, take_side(tensors, "image."), "CT-CLIP's image tower")


def compile_layers(tower: ImageTower) -> None:
    """Have the layers compiled at their first use. They share one program for each shape, unlike the whole tower."""
    for transformer in (tower.encoder.spatial, tower.encoder.temporal):
        for layer in transformer.layers:
            layer.compile(dynamic=False)


def take_side(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Return the tensors of one side, without its prefix."""
    return {name.removeprefix(prefix): each for name, each in tensors.items() if name.startswith(prefix)}


def fill(network: _Network, tensors: Mapping[str, Tensor], name: str) -> _Network:
    """Put tensors, where they are and uncopied, into a network on the meta device. Raises Defect if they do not fit."""
    require_fit(
        name,
        {key: tuple(tensor.shape) for key, tensor in network.state_dict().items()},
        {key: tuple(tensor.shape) for key, tensor in tensors.items()},
    )
    other = sorted(key for key, tensor in tensors.items() if tensor.dtype is not torch.float32)
    if other:
        raise Defect(f"the weights of {name} are not all in float32: {', '.join(other[:_NAMES_SHOWN])}")
    network.load_state_dict(tensors, strict=True, assign=True)
    return network.eval().requires_grad_(requires_grad=False)
