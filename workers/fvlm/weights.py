"""fVLM's weights: state dicts out of checkpoints, and networks with a text side out of state dicts, strictly."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from shared.errors import Defect
from workers.checkpoint import require_plain_tensors
from workers.ct_clip.loading import fill, take_side
from workers.fvlm.configuration import Architecture
from workers.fvlm.model import FVLM
from workers.fvlm.published import read_tensors
from workers.fvlm.text_tower import TextTower

_CONTAINED = "model"


def read_checkpoint(architecture: Architecture, checkpoint: object) -> dict[str, Tensor]:
    """Return the tensors of `FVLM` from a checkpoint: bare, or in the container of its trainer."""
    _require_whole_text(checkpoint, architecture.text.num_hidden_layers)
    return read_tensors(architecture, unwrap_checkpoint(checkpoint))


def unwrap_checkpoint(checkpoint: object) -> dict[str, Tensor]:
    """Return the state dict of a checkpoint. Raises Defect when it is none of plain tensors."""
    state = checkpoint
    if isinstance(state, Mapping) and isinstance(state.get(_CONTAINED), Mapping):
        state = state[_CONTAINED]
    if not isinstance(state, Mapping) or not state or not all(isinstance(value, Tensor) for value in state.values()):
        raise Defect(f"the checkpoint is neither a state dict nor a dict with `{_CONTAINED}`")
    tensors = {str(name): tensor for name, tensor in state.items()}
    require_plain_tensors(tensors)
    return tensors


def make_model(architecture: Architecture, tensors: Mapping[str, Tensor]) -> FVLM:
    """Return the whole network with exactly these weights, ready for inference."""
    with torch.device("meta"):
        model = FVLM(architecture)
    return fill(model, tensors, "fVLM")


def make_text_tower(architecture: Architecture, tensors: Mapping[str, Tensor]) -> TextTower:
    """Return the text side alone with exactly these weights, ready for inference; keys as in the whole network."""
    with torch.device("meta"):
        tower = TextTower(architecture)
    return fill(tower, take_side(tensors, "text."), "fVLM's text side")


def _require_whole_text(checkpoint: object, layers: int) -> None:
    """Refuse weights whose text passed only a part of its layers: they would answer another question here."""
    config = checkpoint.get("config") if isinstance(checkpoint, Mapping) else None
    for layer in _find_fusion_layers(config):
        if layer < layers:
            raise Defect(f"the checkpoint's text stops at layer {layer} of {layers} (`fusion_layer`); not supported")


def _find_fusion_layers(config: object) -> Iterator[int]:
    if isinstance(config, Mapping):
        for name, value in config.items():
            if name == "fusion_layer" and isinstance(value, int):
                yield value
            yield from _find_fusion_layers(value)
