"""Attributions by model, by part of the chest and by finding. Pure; every regrouping keeps the sum.

An aggregate's attribution is shared out to the values that it was computed from, each by its part in the aggregate
(all to the largest for a maximum, by value for a mean, by distance for a deviation), so that `kolyan_max` speaks for
the finding that was largest. What a missing value moved belongs to no finding.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from model_weights.policies import CalibrationLine
from shared.errors import Defect
from shared.features import LABELS, FeatureGroup, get_model, make_feature_name
from shared.findings import FINDING_OF_LABEL, Finding
from shared.stages import StageName
from workers.fusion.aggregates import AGGREGATES, HIGH_PROBABILITY, TOP_COUNT, compute_mean, select_present
from workers.fusion.booster import SUM_TOLERANCE, Explanation

WHOLE_CHEST = "whole_chest"
ANOMALY = "anomaly"
MISSING = "missing"
GROUPS: tuple[str, ...] = (*FeatureGroup, WHOLE_CHEST, ANOMALY, MISSING)
"""The ten groups; labels that speak of the whole chest; the diffusion model; what missing values moved."""

Shares = Callable[[Sequence[float]], list[float]]


@dataclass(frozen=True)
class Attribution:
    """The same attributions three times, in log-odds. `base_value` and all of `by_model`, or of `by_group`, add up to
    `raw_score`; `by_finding` leaves out what belongs to no finding.
    """

    base_value: float
    raw_score: float
    by_model: Mapping[str, float]
    by_group: Mapping[str, float]
    by_finding: Mapping[str, float]
    calibration: CalibrationLine | None = None


def compute_attribution(explanation: Explanation, vector: Mapping[str, float]) -> Attribution:
    """Regroup the attributions of one vector. Raises Defect when a regrouping lost or added something."""
    shared_out = share_out(explanation.attributions, vector)
    attribution = Attribution(
        base_value=explanation.base_value,
        raw_score=explanation.raw_score,
        by_model=_sum_by(explanation.attributions, get_model, {get_model(name): 0.0 for name in vector}),
        by_group=_sum_by(shared_out, lambda name: _get_group(name, vector), dict.fromkeys(GROUPS, 0.0)),
        by_finding=_sum_by_finding(shared_out, vector),
        calibration=explanation.calibration,
    )
    for parts in (attribution.by_model, attribution.by_group):
        _require_sum(attribution, parts)
    return attribution


def share_out(attributions: Mapping[str, float], vector: Mapping[str, float]) -> dict[str, float]:
    """Return the attributions with those of aggregates moved to the present values that they run over."""
    shared_out: dict[str, float] = defaultdict(float)
    for feature, attribution in attributions.items():
        statistic, parts = AGGREGATES.get(feature, ("", ()))
        present = select_present(parts, vector)
        if not present:
            shared_out[feature] += attribution
            continue
        weights = SHARES[statistic](list(present.values()))
        for part, weight in zip(present, weights, strict=True):
            shared_out[part] += attribution * weight
    return dict(shared_out)


def _require_sum(attribution: Attribution, parts: Mapping[str, float]) -> None:
    error = abs(math.fsum((attribution.base_value, *parts.values())) - attribution.raw_score)
    if not error <= SUM_TOLERANCE:
        raise Defect("fusion: the regrouped attributions do not add up to the raw score", error=error)


def _sum_by(
    attributions: Mapping[str, float], get_key: Callable[[str], str], start: Mapping[str, float]
) -> dict[str, float]:
    terms: dict[str, list[float]] = {key: [value] for key, value in start.items()}
    for feature, attribution in attributions.items():
        terms.setdefault(get_key(feature), []).append(attribution)
    return {key: math.fsum(values) for key, values in terms.items()}


def _sum_by_finding(shared_out: Mapping[str, float], vector: Mapping[str, float]) -> dict[str, float]:
    spoken = {name: value for name, value in shared_out.items() if name in _FINDINGS and not math.isnan(vector[name])}
    return _sum_by(spoken, lambda name: _FINDINGS[name].id, {})


def _get_group(feature: str, vector: Mapping[str, float]) -> str:
    if math.isnan(vector[feature]):
        return MISSING
    if get_model(feature) is StageName.DIFFUSION:
        return ANOMALY
    return _FINDINGS[feature].group or WHOLE_CHEST


_FINDINGS: Mapping[str, Finding] = MappingProxyType(
    {
        make_feature_name(model, label): FINDING_OF_LABEL[model, label]
        for model, labels in LABELS.items()
        for label in labels
    }
)
"""The finding that a feature speaks of; aggregates and the diffusion model speak of none."""


def _share_to_largest(values: Sequence[float]) -> list[float]:
    largest = max(values)
    return _normalise([float(value == largest) for value in values])


def _share_by_value(values: Sequence[float]) -> list[float]:
    return _normalise(values)


def _share_to_top(values: Sequence[float]) -> list[float]:
    top = sorted(range(len(values)), key=lambda index: -values[index])[:TOP_COUNT]
    return _normalise([value if index in top else 0.0 for index, value in enumerate(values)])


def _share_to_high(values: Sequence[float]) -> list[float]:
    return _normalise([float(value > HIGH_PROBABILITY) for value in values])


def _share_by_distance(values: Sequence[float]) -> list[float]:
    mean = compute_mean(values)
    return _normalise([abs(value - mean) for value in values])


def _normalise(weights: Sequence[float]) -> list[float]:
    total = math.fsum(weights)
    if total <= 0:
        return [1 / len(weights)] * len(weights)
    return [weight / total for weight in weights]


SHARES: Mapping[str, Shares] = MappingProxyType(
    {
        "mean_probability": _share_by_value,
        "max_probability": _share_to_largest,
        "top3_mean": _share_to_top,
        "mean": _share_by_value,
        "max": _share_to_largest,
        "count_high": _share_to_high,
        "std": _share_by_distance,
    }
)
"""How each kind of aggregate is shared out; the shares of one aggregate add up to one."""
