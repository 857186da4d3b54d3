"""MedNeXt weights by key, strictly: from checkpoints and golden folders to the names of our modules."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from model_weights.matching import require_fit
from shared.errors import Defect
from workers.mednext.configuration import Architecture
from workers.mednext.model import MedNeXt

_PREFIX = "module."
_RENAMED = {"grn_beta": "global_resp_beta", "grn_gamma": "global_resp_gamma"}
_DROPPED = frozenset({"dummy_tensor"})
"""The upstream segmentation networks keep an unused tensor for gradient checkpointing."""


def unwrap_checkpoint(checkpoint: object) -> dict[str, Tensor]:
    """Return the state dict of a checkpoint: plain or under `model_state`, keys bare or all under `module.`."""
    state = checkpoint
    if isinstance(state, Mapping) and isinstance(state.get("model_state"), Mapping):
        state = state["model_state"]
    if not isinstance(state, Mapping) or not state or not all(isinstance(value, Tensor) for value in state.values()):
        raise Defect("the checkpoint is neither a state dict nor a dict with `model_state`")
    names = [str(name) for name in state]
    if all(name.startswith(_PREFIX) for name in names):
        names = [name.removeprefix(_PREFIX) for name in names]
    tensors = dict(zip(names, state.values(), strict=True))
    return {rename_key(name): tensor for name, tensor in tensors.items() if name not in _DROPPED}


def make_model(architecture: Architecture, tensors: Mapping[str, Tensor]) -> MedNeXt:
    """Return the network with exactly these weights, ready for inference."""
    with torch.device("meta"):
        model = MedNeXt(architecture)
    renamed = {rename_key(name): tensor for name, tensor in tensors.items()}
    require_fit(
        "MedNeXt",
        {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()},
        {name: tuple(tensor.shape) for name, tensor in renamed.items()},
    )
    model.load_state_dict(renamed, strict=True, assign=True)
    return model.float().eval().requires_grad_(requires_grad=False)


def rename_key(name: str) -> str:
    """Return our name of a parameter of the published layout: MONAI names the global response norm otherwise."""
    head, dot, leaf = name.rpartition(".")
    return f"{head}{dot}{_RENAMED.get(leaf, leaf)}"
