"""Checkpoints of a classifier of few weights, as they are published."""

from __future__ import annotations

import torch
from torch import Tensor

from tests.workers.ct_clip.tiny import TINY, make_state
from workers.supervised.configuration import HeadKind

CLASSES = 3


def make_classifier_state(head: HeadKind, classes: int = CLASSES) -> dict[str, Tensor]:
    prefix = "trained_model." if head is HeadKind.RECTIFIED else "ct_clip."
    name = "classifier" if head is HeadKind.RECTIFIED else "classifier.1"
    state = {prefix + key: tensor for key, tensor in make_state().items()}
    state |= {f"{name}.weight": torch.randn(classes, TINY.dim_latent), f"{name}.bias": torch.randn(classes)}
    if head is HeadKind.LAYER_NORM:
        state |= {f"pre_head_norm.{leaf}": torch.randn(TINY.dim_latent) for leaf in ("weight", "bias")}
    return state
