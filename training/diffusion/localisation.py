"""Does a map point at the lesion? Pointing game and Dice, over studies, with paired intervals. Pure.

The pointing game is that of Zhang et al., arXiv 1608.00507: a hit is a map whose peak lies in the lesion. Dice is that
of the pixels over a threshold, which was chosen on other studies.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Maps = npt.NDArray[np.float32]
Masks = npt.NDArray[np.bool_]
Values = npt.NDArray[np.float64]

_RESAMPLES = 2000
_INTERVAL = (2.5, 97.5)
_THRESHOLDS = 60


@dataclass(frozen=True)
class Estimate:
    """A mean over slices, and its 95 % interval over resampled studies."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} ({self.low:.3f} to {self.high:.3f})"


def find_hits(maps: Maps, lesions: Masks) -> Values:
    """Return 1 for each map (n, x, y) whose peak lies in the lesion, else 0."""
    peaks = maps.reshape(len(maps), -1).argmax(axis=1)
    return np.asarray(lesions.reshape(len(lesions), -1)[np.arange(len(maps)), peaks], np.float64)


def compute_dice(maps: Maps, lesions: Masks, threshold: float) -> Values:
    """Return the Dice coefficient of each map at a threshold."""
    called = maps > threshold
    shared = (called & lesions).sum(axis=(1, 2))
    return np.asarray(2 * shared / np.maximum(called.sum(axis=(1, 2)) + lesions.sum(axis=(1, 2)), 1), np.float64)


def find_best_threshold(maps: Maps, lesions: Masks) -> float:
    """Return the threshold at which the mean Dice is highest; thresholds are spread evenly over the values' ranks."""
    candidates = np.unique(np.quantile(maps, 1 - np.geomspace(2e-4, 0.3, _THRESHOLDS)))
    return float(max(candidates, key=lambda threshold: compute_dice(maps, lesions, threshold).mean()))


def estimate(values: Values, studies: Sequence[int], seed: int) -> Estimate:
    """Return the mean of one value for each slice; slices of one study are drawn together."""
    drawn = _resample(values, studies, seed)
    low, high = np.percentile(drawn, _INTERVAL)
    return Estimate(float(values.mean()), float(low), float(high))


def _resample(values: Values, studies: Sequence[int], seed: int) -> Values:
    _, places = np.unique(np.asarray(studies), return_inverse=True)
    sums, counts = np.bincount(places, values), np.bincount(places)
    weights = np.random.default_rng(seed).multinomial(len(sums), np.full(len(sums), 1 / len(sums)), _RESAMPLES)
    return np.asarray((weights @ sums) / (weights @ counts), np.float64)
