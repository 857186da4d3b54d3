"""The classifier's heads as directions: the gradient of the logit with norms held, and sums that are the logit."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from tests.workers.ct_clip.tiny import TINY
from tests.workers.supervised.tiny import CLASSES, make_classifier_state
from workers.supervised.configuration import Architecture, HeadKind
from workers.supervised.loading import make_classifier
from workers.supervised.model import LatentClassifier
from workers.supervised.relevance import compute_directions
from workers.supervised.weights import read_classifier

RAW = torch.tensor([0.8, -1.5, 0.3, 2.0, -0.2, 0.7])


def make(head: HeadKind) -> LatentClassifier:
    architecture = Architecture(CLASSES, head, TINY)
    return make_classifier(architecture, read_classifier(architecture, make_classifier_state(head)))


def run_with_norms_held(classifier: LatentClassifier, raw: Tensor) -> Tensor:
    """Return logits; what divides is cut from the gradient."""
    latent = raw / raw.norm().detach()
    norm, linear = classifier.head
    assert isinstance(linear, nn.Linear)
    if isinstance(norm, nn.LayerNorm):
        deviation = (latent.var(correction=0) + norm.eps).sqrt().detach()
        latent = (latent - latent.mean()) / deviation * norm.weight + norm.bias
    else:
        latent = norm(latent)
    logits: Tensor = linear(latent)
    return logits


class TestDirections:
    @pytest.mark.parametrize("head", list(HeadKind))
    def test_they_are_the_gradient(self, head: HeadKind) -> None:
        classifier, raw = make(head), RAW.clone().requires_grad_()
        logits = run_with_norms_held(classifier, raw)
        assert torch.allclose(logits, classifier.classify(raw[None] / raw.norm())[0], atol=1e-5)
        for number, logit in enumerate(logits):
            (gradient,) = torch.autograd.grad(logit, raw, retain_graph=True)
            assert torch.allclose(compute_directions(classifier, RAW, [number])[0], gradient, atol=1e-5)

    @pytest.mark.parametrize("head", list(HeadKind))
    def test_times_the_latent_they_are_the_logit_but_what_zeros_give(self, head: HeadKind) -> None:
        classifier, classes = make(head), [2, 0]
        expected = classifier.classify(RAW[None] / RAW.norm()) - classifier.classify(torch.zeros(1, len(RAW)))
        assert torch.allclose(compute_directions(classifier, RAW, classes) @ RAW, expected[0, classes], atol=1e-4)
