"""The classifier in training: a head on a CT-CLIP's encoder, with gradients through the code book.

Papers:  van den Oord et al., arXiv 1711.00937 (straight-through gradient); Srivastava et al., "Dropout", 2014.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from training.supervised.base import BaseModel
from training.supervised.plan import FineTuningPlan, Part
from workers.supervised.configuration import Architecture, HeadKind
from workers.supervised.loading import make_classifier
from workers.supervised.model import LatentClassifier

_LEFT_ALONE = (".code_book.", ".attention.norm.bias", "spatial.norm.bias", "temporal.norm.bias")
"""Parts of the encoder that no training moves. The published layout keeps these biases as constants."""


def make_fresh_classifier(base: BaseModel, head: HeadKind, targets: Tensor) -> LatentClassifier:
    """Return the base's encoder under a head that says how frequent each label of targets (n, labels) is."""
    latent = base.architecture.dim_latent
    positives, negatives = (targets == 1).sum(dim=0), (targets == 0).sum(dim=0)
    tensors: dict[str, Tensor] = {name: tensor.clone() for name, tensor in base.tensors.items()}
    tensors["head.1.weight"] = torch.zeros(targets.shape[1], latent)
    tensors["head.1.bias"] = torch.log(positives / negatives)
    if head is HeadKind.LAYER_NORM:
        tensors |= {"head.0.weight": torch.ones(latent), "head.0.bias": torch.zeros(latent)}
    return make_classifier(Architecture(targets.shape[1], head, base.architecture), tensors)


def compute_logits(classifier: LatentClassifier, latents: Tensor, dropout: Tensor | None) -> Tensor:
    """Return logits (b, labels) of latents (b, d); `dropout` (b, d) multiplies what the linear layer is given."""
    preparation, linear = classifier.head
    prepared = preparation(latents)
    logits: Tensor = linear(prepared if dropout is None else prepared * dropout)
    return logits


def make_dropout(shape: tuple[int, int], share: float, generator: torch.Generator) -> Tensor:
    """Return factors (b, d): 0 for a share of the entries, the others so that the mean stays."""
    kept = torch.rand(shape, generator=generator) >= share
    return kept / (1 - share)


def encode_for_training(classifier: LatentClassifier, volume: Tensor) -> Tensor:
    """Return latents (b, d) of prepared volumes, with the gradient of the codes handed on to the tokens."""
    tokens = codes = volume
    for name, activation in classifier.image.encoder.iterate_activations(volume):
        tokens = activation if name == "encoded_tokens" else tokens
        codes = activation
    return classifier.image.project(tokens + (codes - tokens).detach())


def select_parameters(classifier: LatentClassifier, part: Part) -> dict[str, nn.Parameter]:
    """Return what a stage moves, by name."""
    chosen = ("head.", *_list_prefixes(classifier, part))
    return {
        name: parameter
        for name, parameter in classifier.named_parameters()
        if name.startswith(chosen) and not any(name.endswith(each) or each in name for each in _LEFT_ALONE)
    }


def compute_rates(classifier: LatentClassifier, names: Iterable[str], plan: FineTuningPlan) -> dict[str, float]:
    """Return the peak rate of each parameter: the head's, or the encoder's, smaller the deeper a layer lies."""
    layers = _list_layers(classifier)
    rates = {}
    for name in names:
        depth = next((depth for depth, prefixes in enumerate(layers) if name.startswith(prefixes)), len(layers))
        rates[name] = plan.head_rate if name.startswith("head.") else plan.encoder_rate * plan.layer_decay**depth
    return rates


def _list_prefixes(classifier: LatentClassifier, part: Part) -> tuple[str, ...]:
    if part is Part.HEAD:
        return ()
    if part is Part.ALL:
        return ("image.encoder.",)
    return tuple(prefix for prefixes in _list_tops(classifier) for prefix in prefixes)


def _list_tops(classifier: LatentClassifier) -> list[tuple[str, ...]]:
    """Return the prefixes of the last layer of each transformer, with its last norm."""
    return [
        (f"image.encoder.{name}.norm.", f"image.encoder.{name}.layers.{depth - 1}.")
        for name, depth in _list_depths(classifier)
    ]


def _list_layers(classifier: LatentClassifier) -> list[tuple[str, ...]]:
    """Return the prefixes of each layer from the top down; a last norm goes with the layer below it."""
    layers = []
    for tops, (name, depth) in zip(_list_tops(classifier), _list_depths(classifier), strict=True):
        layers += [tops, *((f"image.encoder.{name}.layers.{index}.",) for index in reversed(range(depth - 1)))]
    return layers


def _list_depths(classifier: LatentClassifier) -> list[tuple[str, int]]:
    shape = classifier.image.encoder.shape
    return [("temporal", shape.temporal_depth), ("spatial", shape.spatial_depth)]
