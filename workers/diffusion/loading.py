"""Putting tensors into both networks, strictly."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from workers.ct_clip.loading import fill
from workers.diffusion.classifier import SliceClassifier
from workers.diffusion.configuration import ClassifierShape, UNetShape
from workers.diffusion.unet import UNet


def make_unet(shape: UNetShape, tensors: Mapping[str, Tensor]) -> UNet:
    """Return the noise predictor with exactly these weights, ready for inference."""
    with torch.device("meta"):
        network = UNet(shape)
    return fill(network, tensors, "the noise predictor")


def make_classifier(shape: ClassifierShape, tensors: Mapping[str, Tensor]) -> SliceClassifier:
    """Return the slice classifier with exactly these weights, ready for inference."""
    with torch.device("meta"):
        network = SliceClassifier(shape)
    # A fifth faster on a CPU: no operation reorders its images then.
    channels_last = {name: _reorder(tensor) if tensor.ndim == 4 else tensor for name, tensor in tensors.items()}
    return fill(network, channels_last, "the slice classifier")


def _reorder(weight: Tensor) -> Tensor:
    return weight.contiguous(memory_format=torch.channels_last)
