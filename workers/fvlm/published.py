"""The published layout of fVLM: what each key is called there, and what is taken along unread.

A checkpoint must have every key that the networks need, the esophagus's included, and none but those and the leftovers
of its training: a language head, queues of an older version, cross-attention and token types that text never passes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from model_weights.matching import Shape, require_fit
from shared.errors import Defect
from workers.fvlm.configuration import Architecture
from workers.fvlm.model import FVLM

_NAMES_SHOWN = 8

POSITION_IDS = "text_encoder.embeddings.position_ids"
_LEFTOVERS = re.compile(
    r"image_queue|text_queue|queue_ptr|text_encoder\.cls\..+|text_encoder\.(.+\.)?(crossattention|token_type_embeddings)\..+"
)

_SIDES = (
    (r"^temperature$", "temp"),
    (r"^image\.queries$", "query_tokens"),
    (r"^image\.attention\.", "attention."),
    (r"^image\.projections\.", "vision_projs."),
    (r"^image\.encoder\.patch_embedding\.project\.", "visual_encoder.patch_embedding.patch_embeddings."),
    (r"^image\.encoder\.patch_embedding\.positions$", "visual_encoder.patch_embedding.position_embeddings"),
    (r"^image\.encoder\.", "visual_encoder."),
    (r"^text\.projection\.", "text_proj."),
    (r"^text\.encoder\.", "text_encoder."),
)
_BLOCK_PARTS = (
    (".attention_norm.", ".norm1."),
    (".feed_forward_norm.", ".norm2."),
    (".attention.query_key_value.", ".attn.qkv."),
    (".attention.output.", ".attn.out_proj."),
    (".feed_forward.expand.", ".mlp.linear1."),
    (".feed_forward.contract.", ".mlp.linear2."),
)


@dataclass(frozen=True)
class Slot:
    """One key of the published layout: its shape, and what we call it."""

    shape: Shape
    ours: str


def describe_layout(architecture: Architecture) -> Mapping[str, Slot]:
    """Return every key that a checkpoint must have."""
    with torch.device("meta"):
        model = FVLM(architecture)
    return {rename_key(name): Slot(tuple(tensor.shape), name) for name, tensor in model.state_dict().items()}


def rename_key(ours: str) -> str:
    """Return the published name of one of our parameters."""
    for pattern, theirs in _SIDES:
        renamed, changes = re.subn(pattern, theirs, ours)
        if changes:
            break
    if renamed.startswith("visual_encoder.blocks."):
        for part, their_part in _BLOCK_PARTS:
            renamed = renamed.replace(part, their_part)
    return renamed


def is_leftover(name: str) -> bool:
    """Whether a published key may be there and is never read."""
    return _LEFTOVERS.fullmatch(name) is not None


def read_tensors(architecture: Architecture, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors of `FVLM`, in float32 and by our names, of a published state dict.

    Raises Defect naming what is missing, unexpected, of another shape or spoilt.
    """
    layout = describe_layout(architecture)
    positions = (1, architecture.text.max_position_embeddings)
    require_fit(
        "fVLM",
        {**{name: slot.shape for name, slot in layout.items()}, POSITION_IDS: positions},
        {name: tuple(tensor.shape) for name, tensor in state.items() if not is_leftover(name)},
        optional={POSITION_IDS},
    )
    _refuse("are no floating-point numbers", [name for name in layout if not state[name].is_floating_point()])
    taken = {name: state[name].float() for name in layout}
    _refuse("hold values that are not finite", [name for name, each in taken.items() if not each.isfinite().all()])
    _require_sound(state)
    return {layout[name].ours: tensor for name, tensor in taken.items()}


def _refuse(what: str, names: Sequence[str]) -> None:
    if names:
        shown = ", ".join(names[:_NAMES_SHOWN])
        raise Defect(f"{len(names)} tensors of the checkpoint {what}, it is not usable: {shown}")


def _require_sound(state: Mapping[str, Tensor]) -> None:
    if not float(state["temp"]) > 0:
        raise Defect("temp is not positive: the checkpoint is not usable")
    positions = state.get(POSITION_IDS)
    if positions is not None and not torch.equal(positions[0].long(), torch.arange(positions.shape[1])):
        raise Defect(f"{POSITION_IDS} does not count from 0: the checkpoint is not usable")
