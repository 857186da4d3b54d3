"""CT-CLIP's weights: state dicts out of checkpoints, and networks out of state dicts, strictly."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

import torch
from torch import Tensor, nn

from model_weights.matching import require_fit
from shared.errors import Defect
from workers.ct_clip.configuration import Architecture
from workers.ct_clip.image_tower import ImageTower
from workers.ct_clip.model import CTCLIP
from workers.ct_clip.published import describe_layout, read_tensors

_Network = TypeVar("_Network", bound=nn.Module)
_CONTAINED = "model_state_dict"


def unwrap_checkpoint(checkpoint: object) -> dict[str, Tensor]:
    """Return the state dict of a checkpoint: bare as published, or in the container of the product's trainer."""
    state = checkpoint
    if isinstance(state, Mapping) and isinstance(state.get(_CONTAINED), Mapping):
        state = state[_CONTAINED]
    if not isinstance(state, Mapping) or not state or not all(isinstance(value, Tensor) for value in state.values()):
        raise Defect(f"the checkpoint is neither a state dict nor a dict with `{_CONTAINED}`")
    return {str(name): tensor for name, tensor in state.items()}


def read_ct_clip(architecture: Architecture, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors of `CTCLIP` from a published state dict (zero-shot and VocabFine have the same layout)."""
    return read_tensors("CT-CLIP", describe_layout(architecture), state)


def make_model(architecture: Architecture, tensors: Mapping[str, Tensor]) -> CTCLIP:
    """Return the whole network with exactly these weights, ready for inference."""
    with torch.device("meta"):
        model = CTCLIP(architecture)
    return fill(model, tensors, "CT-CLIP")


def make_image_tower(architecture: Architecture, tensors: Mapping[str, Tensor]) -> ImageTower:
    """Return the image side alone with exactly these weights, ready for inference."""
    with torch.device("meta"):
        tower = ImageTower(architecture.image, architecture.dim_latent)
    return fill(tower, tensors, "CT-CLIP's image tower")


def fill(network: _Network, tensors: Mapping[str, Tensor], name: str) -> _Network:
    """Put tensors, where they are and uncopied, into a network on the meta device. Raises Defect if they do not fit."""
    require_fit(
        name,
        {key: tuple(tensor.shape) for key, tensor in network.state_dict().items()},
        {key: tuple(tensor.shape) for key, tensor in tensors.items()},
    )
    network.load_state_dict(tensors, strict=True, assign=True)
    return network.eval().requires_grad_(requires_grad=False)
