"""By how much recent studies differ from the reference: the population stability index of each feature. Pure.

PSI is the sum over tenths of (p - q) ln(p / q): below 0.1 is usually called stable, above 0.25 shifted. Few studies
differ by chance alone, by about (tenths - 1) (1 / n + 1 / m), which is told beside it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from shared.features import FEATURE_NAMES, get_model
from shared.stages import StageName
from workers.drift.reference import EVERYTHING, Reference, ScannedFeatures, collect_values, count_tenths

FEWEST_STUDIES = 50
"""Recent studies that a part needs; of fewer nothing is told."""

SHIFTED = 0.25

_SMALLEST = 0.5
"""Studies that an empty tenth counts as, so that its logarithm exists."""


@dataclass(frozen=True)
class FeatureDrift:
    """One feature in one part. `studies` are the recent ones; `by_chance` is the PSI to expect without any drift."""

    feature: str
    part: str
    studies: int
    psi: float
    by_chance: float

    @property
    def model(self) -> StageName:
        """Whose feature it is."""
        return get_model(self.feature)

    @property
    def is_shifted(self) -> bool:
        """Whether it differs by more than 0.25 beyond chance."""
        return self.psi - self.by_chance > SHIFTED


def measure_drift(reference: Reference, recent: Iterable[ScannedFeatures]) -> list[FeatureDrift]:
    """Return the drift of every feature in every part with enough recent studies, the largest first."""
    found = (drift for part, of_part in collect_values(recent).items() for drift in _compare(reference, part, of_part))
    return sorted(found, key=lambda each: (-each.psi, each.feature, each.part))


def find_worst(drifts: Iterable[FeatureDrift]) -> dict[tuple[StageName, str], FeatureDrift]:
    """Return the feature that drifted most of each model, by part."""
    worst: dict[tuple[StageName, str], FeatureDrift] = {}
    for drift in drifts:
        key = drift.model, drift.part
        if key not in worst or drift.psi > worst[key].psi:
            worst[key] = drift
    return worst


def compute_psi(counts: Sequence[int], reference: Sequence[int]) -> float:
    """Return the population stability index of two histograms over the same bins."""
    recent, expected = (np.maximum(np.asarray(each, dtype=float), _SMALLEST) for each in (counts, reference))
    p, q = recent / recent.sum(), expected / expected.sum()
    return float(((p - q) * np.log(p / q)).sum())


def _compare(reference: Reference, part: str, recent: Mapping[str, Sequence[float]]) -> Iterator[FeatureDrift]:
    for feature, told in recent.items():
        values = [value for value in told if not math.isnan(value)]
        known = reference.features.get(feature)
        if known is None or len(values) < FEWEST_STUDIES or feature not in FEATURE_NAMES:
            continue
        expected = known.counts.get(part, known.counts[EVERYTHING])
        yield FeatureDrift(
            feature=feature,
            part=part,
            studies=len(values),
            psi=compute_psi(count_tenths(values, known.edges), expected),
            by_chance=(len(expected) - 1) * (1 / len(values) + 1 / sum(expected)),
        )
