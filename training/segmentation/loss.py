"""The loss: cross-entropy and Dice over the labels that phantoms have, on voxels drawn so that small organs count.

All voxels times all classes would take longer than the network. Each organ present gets voxels by the root of its size;
Dice gives each drawn voxel the weight of those that it stands for, so it is that of the whole crop, but for chance.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from dynamic_network_architectures.architectures.unet import PlainConvUNet
from torch import Tensor
from torch.nn import functional

from training.segmentation.labels import BACKGROUND, FIRST, PAINTED, make_class_indices
from workers.volume.label_map import Labels

_CLASS_INDICES = make_class_indices()
_PAINTED = torch.tensor(PAINTED)


class Weighing(NamedTuple):
    """How many voxels are drawn, what the first organs weigh in Dice, and how a voxel counts in cross-entropy.

    See `training.segmentation.plan`.
    """

    drawn_voxels: int
    first_weight: float
    entropy_power: float


def compute_features(network: PlainConvUNet, volumes: Tensor, skipped: int = 0) -> Mapping[int, Tensor]:
    """Return the decoder's features of (b, 1, z, y, x) by depth: 0 at full resolution, 1 at half of it, and so on.

    They are what the segmentation layers look at. As many of the finest stages as are `skipped` are left out.
    """
    skips = network.encoder(volumes)
    features, lower = {}, skips[-1]
    for depth in range(len(skips) - 2, skipped - 1, -1):
        place = len(skips) - 2 - depth
        raised = network.decoder.transpconvs[place](lower)
        lower = network.decoder.stages[place](torch.cat((raised, skips[depth]), dim=1))
        features[depth] = lower
    return features


def compute_loss(
    network: PlainConvUNet,
    features: Mapping[int, Tensor],
    labels: Sequence[Labels],
    weighing: Weighing,
    rng: np.random.Generator,
) -> Tensor:
    """Return the loss of crops by their features and labels: a coarser stage counts half of the next finer one."""
    organ_weights = make_organ_weights(weighing.first_weight)
    total, weights = torch.zeros(()), 0.0
    for depth, values in features.items():
        layer, step, weight = network.decoder.seg_layers[-1 - depth], 2**depth, 0.5**depth
        classes = np.stack([_CLASS_INDICES[each[::step, ::step, ::step]].ravel() for each in labels])
        places, shares = draw_voxels(classes.ravel(), weighing.drawn_voxels, rng)
        samples, inner = np.divmod(places, classes.shape[1])
        chosen = values.flatten(2)[torch.from_numpy(samples), :, torch.from_numpy(inner)]
        logits = functional.linear(chosen, layer.weight[_PAINTED].flatten(1), layer.bias[_PAINTED])
        targets = torch.from_numpy(classes.ravel()[places])
        stands_for = torch.from_numpy(1 / shares).float()
        total = total + weight * measure(logits, targets, stands_for, organ_weights, weighing.entropy_power)
        weights += weight
    return total / weights


def draw_voxels(
    classes: npt.NDArray[np.int64], count: int, rng: np.random.Generator
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Return places of about `count` voxels, and for each the chance that it had to be drawn."""
    sizes = np.bincount(classes, minlength=len(PAINTED))
    wanted = count * np.sqrt(sizes) / np.sqrt(sizes).sum()
    chances = np.minimum(1.0, wanted / np.maximum(sizes, 1))[classes]
    places = np.flatnonzero(rng.random(len(classes)) < chances)
    return places, chances[places]


def make_organ_weights(first_weight: float) -> Tensor:
    """Return the weight of each of `PAINTED` in the Dice loss; the background has none."""
    weights = torch.ones(len(PAINTED))
    weights[[PAINTED.index(label) for label in FIRST]] = first_weight
    weights[BACKGROUND] = 0.0
    return weights


def measure(logits: Tensor, targets: Tensor, stands_for: Tensor, organ_weights: Tensor, entropy_power: float) -> Tensor:
    """Return cross-entropy plus one minus Dice, of logits (n, classes); each row stands for so many voxels."""
    logarithms = functional.log_softmax(logits, dim=1)
    rows = stands_for**entropy_power
    entropy = (functional.nll_loss(logarithms, targets, reduction="none") * rows).sum() / rows.sum()
    probabilities = logarithms.exp() * stands_for[:, None]
    overlap = torch.zeros_like(organ_weights).index_add_(0, targets, probabilities.gather(1, targets[:, None])[:, 0])
    sizes = torch.zeros_like(organ_weights).index_add_(0, targets, stands_for)
    dice = (2 * overlap + 1) / (probabilities.sum(0) + sizes + 1)
    weights = organ_weights * (sizes > 0)
    return entropy + ((1 - dice) * weights).sum() / weights.sum().clamp(min=1e-6)
