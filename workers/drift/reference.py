"""How each feature was distributed over the studies that the fusion was trained on, by tenths. Pure.

The file beside the booster holds counts only: nothing of a study can be read from it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from shared.errors import Defect
from workers.drift.scan import Scan

FORMAT = 1
TENTHS = 10
EVERYTHING = "all"

_FEWEST = 50
"""Studies that a part needs for a reference of its own; others are held against all."""

_DECIMALS = 6


@dataclass(frozen=True)
class ScannedFeatures:
    """The features of one study, and how it was scanned."""

    features: Mapping[str, float]
    scan: Scan


@dataclass(frozen=True)
class FeatureReference:
    """One feature: the values between its tenths, and the studies in each tenth, by part."""

    edges: tuple[float, ...]
    counts: Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class Reference:
    """All features, by name."""

    features: Mapping[str, FeatureReference]

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Self:
        """Read what `to_document` wrote. Raises Defect."""
        if document.get("format") != FORMAT:
            raise Defect("the reference of the fusion's features has another format; train the fusion again")
        return cls(
            {
                name: FeatureReference(
                    tuple(each["edges"]), {part: tuple(counts) for part, counts in each["counts"].items()}
                )
                for name, each in document["features"].items()
            }
        )

    def to_document(self) -> dict[str, Any]:
        """Return the JSON form."""
        told = {
            name: {"edges": list(each.edges), "counts": {part: list(counts) for part, counts in each.counts.items()}}
            for name, each in self.features.items()
        }
        return {"format": FORMAT, "features": told}


def list_parts(scan: Scan) -> tuple[str, ...]:
    """Return the parts that a study belongs to: all, its maker's, its kernel's, its thickness'."""
    return (EVERYTHING, *(f"{facet}={value}" for facet, value in scan.to_document().items()))


def make_reference(studies: Iterable[ScannedFeatures]) -> Reference:
    """Return how the features of these studies are distributed."""
    values = collect_values(studies)
    names = sorted({name for of_part in values.values() for name in of_part})
    return Reference({name: _describe(name, values) for name in names})


def collect_values(studies: Iterable[ScannedFeatures]) -> dict[str, dict[str, list[float]]]:
    """Return the values of each feature, by part."""
    values: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for study in studies:
        for part in list_parts(study.scan):
            for name, value in study.features.items():
                values[part][name].append(value)
    return {part: dict(of_part) for part, of_part in values.items()}


def count_tenths(values: Sequence[float], edges: Sequence[float]) -> tuple[int, ...]:
    """Return how many values lie in each tenth of the reference."""
    places = np.searchsorted(np.asarray(edges), np.asarray(values), side="right")
    return tuple(np.bincount(places, minlength=len(edges) + 1).tolist())


def _describe(name: str, values: Mapping[str, Mapping[str, Sequence[float]]]) -> FeatureReference:
    whole = values[EVERYTHING][name]
    shares = np.arange(1, TENTHS) / TENTHS
    # Rounded, so that edges are what the file says; alike ones would leave tenths empty for ever.
    edges = tuple(np.unique(np.round(np.quantile(whole, shares), _DECIMALS)).tolist())
    parts = {part: of_part[name] for part, of_part in values.items() if len(of_part.get(name, ())) >= _FEWEST}
    counts = {part: count_tenths(told, edges) for part, told in {**parts, EVERYTHING: whole}.items()}
    return FeatureReference(edges, counts)
