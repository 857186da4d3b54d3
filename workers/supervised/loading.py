"""Putting tensors into a classifier, strictly and without a copy."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from workers.ct_clip.loading import fill
from workers.supervised.configuration import Architecture
from workers.supervised.model import LatentClassifier


def make_classifier(architecture: Architecture, tensors: Mapping[str, Tensor]) -> LatentClassifier:
    """Return the network with exactly these weights, ready for inference."""
    with torch.device("meta"):
        classifier = LatentClassifier(architecture)
    return fill(classifier, tensors, "the classifier")
