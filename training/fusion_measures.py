"""Discrimination and calibration of probabilities against the truth; pure, intervals by bootstrap over studies."""

from __future__ import annotations

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


def compute_difference_interval(
    labels: Labels, probabilities: Probabilities, others: Probabilities, seed: int
) -> tuple[float, float]:
    """Return the 95 % interval of AUC minus AUC of `others`: paired, both over the same resampled studies."""
    return _compute_interval(_resample_auc(labels, probabilities, seed) - _resample_auc(labels, others, seed))


def compute_calibration_error(labels: Labels, probabilities: Probabilities) -> float:
    """Return the expected calibration error over ten equal bins (Guo et al. 2017)."""
    bins = np.minimum((probabilities * _BINS).astype(int), _BINS - 1)
    gaps = [
        abs(labels[bins == each].mean() - probabilities[bins == each].mean()) * (bins == each).mean()
        for each in np.unique(bins)
    ]
    return float(sum(gaps))


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
