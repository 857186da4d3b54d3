"""The classifier's score as a sum over the raw latent, so that relevance maps hold for it as for CT-CLIP.

Paper:   Ali et al., "XAI for Transformers: Better Explanations through Conservative Propagation", ICML 2022, arXiv
         2202.07304: behind norms whose divisors are held, gradient times activation adds up to the score. With the
         divisors let free it would add up to nothing: the head does not see the length of what it is given.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from workers.supervised.model import LatentClassifier


def compute_directions(classifier: LatentClassifier, raw: Tensor, classes: Sequence[int]) -> Tensor:
    """Return directions (classes, d): each times `raw` (d,), the latent before its norm, is the logit but a constant.

    The constant is what the head says of a latent of zeros: its bias, and what the layer norm adds.
    """
    preparation, linear = classifier.head
    assert isinstance(linear, nn.Linear)
    weight: Tensor = linear.weight[list(classes)]
    match preparation:
        case nn.ReLU():
            weight = weight * (raw > 0)
        case nn.LayerNorm():
            weight = _pass_layer_norm(weight, preparation, raw / raw.norm())
    directions: Tensor = weight / raw.norm()
    return directions


def _pass_layer_norm(weight: Tensor, norm: nn.LayerNorm, latent: Tensor) -> Tensor:
    """Return weights (classes, d) on the latent in place of those behind the norm, its deviation held."""
    scaled = weight * norm.weight
    deviation = (latent.var(correction=0) + norm.eps).sqrt()
    centred: Tensor = (scaled - scaled.mean(dim=-1, keepdim=True)) / deviation
    return centred
