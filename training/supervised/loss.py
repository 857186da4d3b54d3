"""The loss of a multi-label head whose labels are partly unknown.

Papers:  Cui et al., "Class-Balanced Loss Based on Effective Number of Samples", CVPR 2019, arXiv 1901.05555.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True)
class MaskedLoss:
    """Binary cross entropy over known labels. `label_weights` and `positive_weights` are (labels,)."""

    label_weights: Tensor
    positive_weights: Tensor

    def compute_sum(self, logits: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
        """Return the sum over known labels of logits and targets (b, labels), each study by its weight (b,)."""
        known = ~targets.isnan()
        losses = functional.binary_cross_entropy_with_logits(
            logits.float(), targets.nan_to_num(), reduction="none", pos_weight=self.positive_weights
        )
        return (losses * self.label_weights * weights[:, None] * known).sum()

    def to(self, device: torch.device) -> MaskedLoss:
        """Return the same loss where the network is."""
        return MaskedLoss(self.label_weights.to(device), self.positive_weights.to(device))


def count_known(targets: Tensor, weights: Tensor) -> float:
    """Return by what a sum is divided: the known labels of targets (b, labels), each study by its weight (b,)."""
    return float(((~targets.isnan()) * weights[:, None]).sum())


def make_loss(targets: Tensor, *, beta: float, positive_weight: tuple[float, float]) -> MaskedLoss:
    """Return the loss for the known labels of training targets (n, labels); every label must have both answers.

    A label weighs one by its effective number of positives, the mean over labels being 1; its positives weigh as many
    times more as there are more negatives, within bounds.
    """
    positives = (targets == 1).sum(dim=0).double()
    negatives = (targets == 0).sum(dim=0).double()
    effective = (1 - beta) / (1 - beta**positives)
    return MaskedLoss(
        label_weights=(effective / effective.mean()).float(),
        positive_weights=(negatives / positives).clamp(*positive_weight).float(),
    )


def find_teachable(targets: Tensor) -> list[int]:
    """Return the labels of targets (n, labels) that were seen both ways; the others cannot be learnt."""
    both = (targets == 1).any(dim=0) & (targets == 0).any(dim=0)
    return [int(index) for index in both.nonzero()[:, 0]]
