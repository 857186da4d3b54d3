"""Choosing the probability above which a model stands for a finding."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from sklearn.metrics import roc_curve

_DECIMALS = 4
_LOWEST, _HIGHEST = 0.01, 0.99


def choose_threshold(
    is_present: npt.NDArray[np.bool_], probabilities: npt.NDArray[np.float32], least_specificity: float
) -> float | None:
    """Return the probability that parts studies with a finding from others best (Youden's index).

    Of those that are specific enough; in the middle between the last study called and the first one not called, since
    with few positives the last one called lies high by chance. None where nothing is better than a guess.
    """
    if not 0 < is_present.sum() < len(is_present):
        return None
    false_rate, true_rate, cuts = roc_curve(is_present, probabilities, drop_intermediate=False)
    gain = np.where(false_rate <= 1 - least_specificity, true_rate - false_rate, -1.0)
    best = int(gain.argmax())
    if gain[best] <= 0:
        return None
    below = cuts[best + 1] if best + 1 < len(cuts) else cuts[best]
    return round(float(np.clip((cuts[best] + below) / 2, _LOWEST, _HIGHEST)), _DECIMALS)
