"""From the features of the models to the whole vector: aggregates over what is there, NaN where nothing is.

Pure. Every value that is not known is NaN, LightGBM's own missing value; none is ever filled with 0.0, which would
read "surely healthy".
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

from shared.features import (
    CT_CLIP_GROUPS,
    FEATURE_NAMES,
    GROUP_STATISTICS,
    LABELS,
    WHOLE_MODEL_AGGREGATES,
    get_model,
    make_feature_name,
    make_group_feature_name,
)
from shared.stages import StageName

HIGH_PROBABILITY = 0.5
"""Above this, strictly, a probability counts as high in `count_high`."""

TOP_COUNT = 3
"""How many of the largest values the `top3` aggregates run over."""

Statistic = Callable[[Sequence[float]], float]


def compute_mean(values: Sequence[float]) -> float:
    """Return the mean."""
    return math.fsum(values) / len(values)


def compute_top_mean(values: Sequence[float]) -> float:
    """Return the mean of the three largest, or of all when there are fewer."""
    return compute_mean(sorted(values, reverse=True)[:TOP_COUNT])


def count_high(values: Sequence[float]) -> float:
    """Return how many are above one half."""
    return float(sum(value > HIGH_PROBABILITY for value in values))


def compute_deviation(values: Sequence[float]) -> float:
    """Return the population standard deviation; 0.0 for one value."""
    mean = compute_mean(values)
    return math.sqrt(compute_mean([(value - mean) ** 2 for value in values]))


STATISTICS: Mapping[str, Statistic] = MappingProxyType(
    {
        "mean_probability": compute_mean,
        "max_probability": max,
        "top3_mean": compute_top_mean,
        "mean": compute_mean,
        "max": max,
        "count_high": count_high,
        "std": compute_deviation,
    }
)
"""How each kind of aggregate is computed from the values that are there."""


def _list_counted(model: StageName) -> tuple[str, ...]:
    """Return the features that a model's aggregates run over: all labels but "normal"."""
    return tuple(make_feature_name(model, label) for label in LABELS[model] if "normal" not in label)


def _find_statistic(aggregate: str) -> str:
    return next(statistic for statistic in STATISTICS if aggregate.endswith(f"_{statistic}"))


def _list_aggregates() -> dict[str, tuple[str, tuple[str, ...]]]:
    whole = {name: (_find_statistic(name), _list_counted(get_model(name))) for name in WHOLE_MODEL_AGGREGATES}
    groups = {
        make_group_feature_name(group, statistic): (
            statistic,
            tuple(make_feature_name(StageName.CT_CLIP, label) for label in labels),
        )
        for group, labels in CT_CLIP_GROUPS.items()
        for statistic in GROUP_STATISTICS
    }
    return {**whole, **groups}


AGGREGATES: Mapping[str, tuple[str, tuple[str, ...]]] = MappingProxyType(_list_aggregates())
"""Per aggregate feature: its statistic and the features that it runs over."""


def compute_vector(features: Mapping[str, float]) -> dict[str, float]:
    """Return all 168 features in canonical order from what the models wrote.

    A feature that is absent from `features` is NaN; so is an aggregate none of whose parts is there. Features that
    are not canonical are left out.
    """
    vector = dict.fromkeys(FEATURE_NAMES, math.nan)
    vector |= {name: float(value) for name, value in features.items() if name in vector}
    vector |= {aggregate: _compute_aggregate(aggregate, features) for aggregate in AGGREGATES}
    return vector


def _compute_aggregate(aggregate: str, features: Mapping[str, float]) -> float:
    statistic, parts = AGGREGATES[aggregate]
    present = select_present(parts, features)
    return STATISTICS[statistic](list(present.values())) if present else math.nan


def select_present(names: Sequence[str], features: Mapping[str, float]) -> dict[str, float]:
    """Return those of `names` that have a value."""
    return {name: features[name] for name in names if not math.isnan(features.get(name, math.nan))}
