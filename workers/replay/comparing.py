"""Comparison of two runs by their manifests. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Manifest = Mapping[str, Any]
PROBABILITY = "probability_of_pathology"
_FUSION = "fusion"


@dataclass(frozen=True)
class FeatureComparison:
    """One number of both runs; None where a run has none."""

    stage: str
    name: str
    recorded: float | None
    replayed: float | None

    @property
    def difference(self) -> float:
        """How far apart they are; infinite where only one run has the number."""
        if self.recorded is None or self.replayed is None:
            return math.inf
        return abs(self.recorded - self.replayed)


@dataclass(frozen=True)
class StageComparison:
    """All numbers of one stage."""

    stage: str
    features: Sequence[FeatureComparison]

    @property
    def largest(self) -> FeatureComparison:
        """The number that is farthest apart."""
        return max(self.features, key=lambda feature: feature.difference)

    def count_beyond(self, tolerance: float) -> int:
        """Return how many numbers are farther apart than the tolerance."""
        return sum(feature.difference > tolerance for feature in self.features)


@dataclass(frozen=True)
class Comparison:
    """Both runs side by side: their numbers, and what else is not the same in them."""

    stages: Sequence[StageComparison]
    changes: Sequence[str]

    def agrees(self, tolerance: float) -> bool:
        """Say whether every number is within the tolerance."""
        return not any(stage.count_beyond(tolerance) for stage in self.stages)


def compare(recorded: Manifest, replayed: Manifest) -> Comparison:
    """Compare two manifests of one study."""
    return Comparison([*_compare_stages(recorded, replayed)], [*_find_changes(recorded, replayed)])


def _compare_stages(recorded: Manifest, replayed: Manifest) -> Iterator[StageComparison]:
    both = (recorded["features"]["values"], replayed["features"]["values"])
    for stage in dict.fromkeys([*both[0], *both[1]]):
        before, after = (values.get(stage, {}) for values in both)
        names = dict.fromkeys([*before, *after])
        yield StageComparison(
            stage, [FeatureComparison(stage, name, before.get(name), after.get(name)) for name in names]
        )
    decided = FeatureComparison(_FUSION, PROBABILITY, recorded[PROBABILITY], replayed[PROBABILITY])
    yield StageComparison(_FUSION, [decided])


def _find_changes(recorded: Manifest, replayed: Manifest) -> Iterator[str]:
    """Name what may explain a difference: input, code, versions, settings, policy, weights, arithmetic."""
    for part in ("volume", "upload"):
        before, after = (manifest["input"].get(part) for manifest in (recorded, replayed))
        if after is not None and _identify(before) != _identify(after):
            yield f"input.{part}: {_identify(before)} -> {_identify(after)}"
    for part in ("software", "settings", "policy"):
        yield from _list_differences(part, recorded[part], replayed[part])
    yield from _list_differences("models", *(_tell_of_models(each, "digest") for each in (recorded, replayed)))
    before, after = (_tell_of_models(each, "precision") for each in (recorded, replayed))
    both = before.keys() & after.keys()  # a model that failed has none, nor have manifests of earlier versions
    yield from _list_differences(
        "precision", *({stage: told[stage] for stage in sorted(both)} for told in (before, after))
    )


def _tell_of_models(manifest: Manifest, word: str) -> Mapping[str, Any]:
    """Return what is told of each model, by stage."""
    return {model["stage"]: model[word] for model in manifest["models"] if model.get(word) is not None}


def _identify(artefact: Mapping[str, Any] | None) -> str | None:
    return None if artefact is None else artefact.get("content_sha256", artefact["sha256"])


def _list_differences(place: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[str]:
    for name in dict.fromkeys([*before, *after]):
        old, new = before.get(name), after.get(name)
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            yield from _list_differences(f"{place}.{name}", old, new)
        elif old != new:
            yield f"{place}.{name}: {old} -> {new}"
