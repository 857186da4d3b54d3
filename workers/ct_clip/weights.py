"""CT-CLIP's weights: state dicts out of checkpoints, and networks with a text side out of state dicts, strictly."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from shared.errors import Defect
from workers.checkpoint import require_plain_tensors
from workers.ct_clip.configuration import Architecture
from workers.ct_clip.loading import fill, take_side
from workers.ct_clip.model import CTCLIP
from workers.ct_clip.published import describe_layout, read_tensors
from workers.ct_clip.text_tower import TextTower

_CONTAINED = "model_state_dict"


def unwrap_checkpoint(checkpoint: object) -> dict[str, Tensor]:
    """Return the state dict of a checkpoint: bare as published, or in the container of the product's trainer.

    Raises Defect when there is none, or it holds other things than plain tensors.
    """
    state = checkpoint
    if isinstance(state, Mapping) and isinstance(state.get(_CONTAINED), Mapping):
        state = state[_CONTAINED]
    if not isinstance(state, Mapping) or not state or not all(isinstance(value, Tensor) for value in state.values()):
        raise Defect(f"the checkpoint is neither a state dict nor a dict with `{_CONTAINED}`")
    tensors = {str(name): tensor for name, tensor in state.items()}
    require_plain_tensors(tensors)
    return tensors


def read_ct_clip(architecture: Architecture, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors of `CTCLIP` from a published state dict (zero-shot and VocabFine have the same layout)."""
    return read_tensors("CT-CLIP", describe_layout(architecture), state)


def make_model(architecture: Architecture, tensors: Mapping[str, Tensor]) -> CTCLIP:
    """Return the whole network with exactly these weights, ready for inference."""
    with torch.device("meta"):
        model = CTCLIP(architecture)
    return fill(model, tensors, "CT-CLIP")


def make_text_tower(architecture: Architecture, tensors: Mapping[str, Tensor]) -> TextTower:
    """Return the text side alone with exactly these weights, ready for inference; keys as in the whole network."""
    with torch.device("meta"):
        tower = TextTower(architecture.text, architecture.dim_latent)
    return fill(tower, take_side(tensors, "text."), "CT-CLIP's text tower")
