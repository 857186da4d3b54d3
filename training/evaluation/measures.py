"""Discrimination and calibration of probabilities against the truth; pure, intervals by bootstrap over studies."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_BINS = 10
_RESAMPLES = 2000
_INTERVAL = (2.5, 97.5)

Labels = NDArray[np.bool_]
"""Which studies are pathological (studies,)."""

Probabilities = NDArray[np.float64]


def compute_auc(labels: Labels, probabilities: Probabilities) -> float:
    """Return the share of pairs of one pathological and one normal study that stand in the right order."""
    return float(_compare_pairs(labels, probabilities).mean())


def compute_auc_interval(labels: Labels, probabilities: Probabilities, seed: int) -> tuple[float, float]:
    """Return the 95 % interval of the AUC over resampled studies."""
    return _compute_interval(_resample_auc(labels, probabilities, seed))


@dataclass(frozen=True)
class PairedDifference:
    """AUC minus another AUC on the same studies: 95 % interval and two-sided p, by bootstrap over studies."""

    difference: float
    interval: tuple[float, float]
    p: float


def compare_areas(labels: Labels, probabilities: Probabilities, others: Probabilities, seed: int) -> PairedDifference:
    """Compare two AUCs, both over the same resampled studies. The p of two equal scores is 1."""
    drawn = _resample_auc(labels, probabilities, seed) - _resample_auc(labels, others, seed)
    # One is added to both counts: no bootstrap shows that a chance is nil.
    below, above = (drawn <= 0).sum() + 1, (drawn >= 0).sum() + 1
    return PairedDifference(
        difference=compute_auc(labels, probabilities) - compute_auc(labels, others),
        interval=_compute_interval(drawn),
        p=float(min(1.0, 2 * min(below, above) / (len(drawn) + 1))),
    )


@dataclass(frozen=True)
class Bin:
    """Studies with probabilities in one tenth: how many, their mean probability, the share that is pathological."""

    studies: int
    mean_probability: float
    pathological_share: float


def list_bins(labels: Labels, probabilities: Probabilities) -> tuple[Bin, ...]:
    """Return the ten equal bins that hold any study, the lowest first."""
    bins = np.minimum((probabilities * _BINS).astype(int), _BINS - 1)
    return tuple(
        Bin(int(inside.sum()), float(probabilities[inside].mean()), float(labels[inside].mean()))
        for inside in (bins == each for each in np.unique(bins))
    )


def compute_calibration_error(labels: Labels, probabilities: Probabilities) -> float:
    """Return the expected calibration error over ten equal bins (Guo et al., arXiv 1706.04599)."""
    gaps = [
        abs(each.pathological_share - each.mean_probability) * each.studies for each in list_bins(labels, probabilities)
    ]
    return float(sum(gaps) / len(labels))


def _resample_auc(labels: Labels, probabilities: Probabilities, seed: int) -> NDArray[np.float64]:
    """Return one AUC per resample of the studies; resamples of one class only do not count."""
    pairs = _compare_pairs(labels, probabilities)
    generator = np.random.default_rng(seed)
    # How often each study was drawn, (resamples, studies): an AUC is then a mean over weighted pairs.
    drawn = generator.multinomial(len(labels), np.full(len(labels), 1 / len(labels)), _RESAMPLES)
    pathological, normal = drawn[:, labels], drawn[:, ~labels]
    weights = pathological.sum(axis=1) * normal.sum(axis=1)
    areas: NDArray[np.float64] = ((pathological @ pairs) * normal).sum(axis=1)[weights > 0] / weights[weights > 0]
    return areas


def _compare_pairs(labels: Labels, probabilities: Probabilities) -> NDArray[np.float64]:
    """Return (pathological, normal): 1 where the pathological study has the higher probability, 0.5 for a tie."""
    above = probabilities[labels][:, None] - probabilities[~labels][None, :]
    return (np.sign(above) + 1) / 2


def _compute_interval(values: NDArray[np.float64]) -> tuple[float, float]:
    low, high = np.percentile(values, _INTERVAL)
    return float(low), float(high)
