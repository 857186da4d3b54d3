"""The classifiers' weights: both published layouts, strictly, to the names of our modules.

The product's trainer puts CT-CLIP under `ct_clip.` and calls the head `pre_head_norm` (absent without layer norm) and
`classifier.1`; the public ClassFine puts it under `trained_model.` and calls the head `classifier`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from shared.errors import Defect
from workers.ct_clip.published import Slot, describe_layout, read_tensors
from workers.supervised.configuration import Architecture, HeadKind
from workers.supervised.model import LatentClassifier

_PRODUCT_PREFIX, _PUBLIC_PREFIX = "ct_clip.", "trained_model."
_PRODUCT_NORM = "pre_head_norm.weight"
_TEXT_SIDE = ("text.", "temperature")


@dataclass(frozen=True)
class _Layout:
    prefix: str
    head: Mapping[str, str]
    """Published module of the head -> our module."""


_LAYOUTS: Mapping[HeadKind, _Layout] = {
    HeadKind.LAYER_NORM: _Layout(_PRODUCT_PREFIX, {"pre_head_norm": "head.0", "classifier.1": "head.1"}),
    HeadKind.PLAIN: _Layout(_PRODUCT_PREFIX, {"classifier.1": "head.1"}),
    HeadKind.RECTIFIED: _Layout(_PUBLIC_PREFIX, {"classifier": "head.1"}),
}


def find_head(state: Mapping[str, Tensor]) -> HeadKind:
    """Return which head a published state dict has. Raises Defect when it is not a classifier's."""
    if any(name.startswith(_PUBLIC_PREFIX) for name in state):
        return HeadKind.RECTIFIED
    if any(name.startswith(_PRODUCT_PREFIX) for name in state):
        return HeadKind.LAYER_NORM if _PRODUCT_NORM in state else HeadKind.PLAIN
    raise Defect(
        f"the checkpoint is not a classifier on CT-CLIP: no key begins with {_PRODUCT_PREFIX!r} or {_PUBLIC_PREFIX!r}"
    )


def describe_classifier_layout(architecture: Architecture) -> Mapping[str, Slot]:
    """Return every key of a published classifier with this head."""
    layout = _LAYOUTS[architecture.head]
    described = {layout.prefix + name: slot for name, slot in describe_layout(architecture.ct_clip).items()}
    with torch.device("meta"):
        shapes = {name: tuple(tensor.shape) for name, tensor in LatentClassifier(architecture).state_dict().items()}
    for theirs, ours in layout.head.items():
        for leaf in ("weight", "bias"):
            described[f"{theirs}.{leaf}"] = Slot(shapes[f"{ours}.{leaf}"], f"{ours}.{leaf}")
    return described


def read_classifier(architecture: Architecture, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors of `LatentClassifier` from a published state dict; the text side is checked, not kept."""
    prefix = _LAYOUTS[architecture.head].prefix
    tensors = read_tensors("the classifier", describe_classifier_layout(architecture), state, prefix)
    return {name: tensor for name, tensor in tensors.items() if not name.startswith(_TEXT_SIDE)}
