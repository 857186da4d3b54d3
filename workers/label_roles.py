"""What the labels of installed weights are to the fusion: features that it weighs, or evidence that it only shows.

The fusion's features never change, weights may have other labels: LiPro's 18, or the 13 of another training. What the
weights do not speak of is declared missing and never filled in (docs/adr/0011-labels-that-are-no-features.md).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from shared.features import LABELS
from shared.findings import FINDING_OF_LABEL
from shared.json_values import JsonObject
from shared.stages import StageName
from workers.runtime.stage import StageWarning

UNFUSED = "unfused"
"""Fact of a model's run: the probabilities of labels that are no features, by label."""


@dataclass(frozen=True)
class LabelRoles:
    """The labels of some weights. `missing` are features that they do not have; `unknown` have no canonical finding."""

    fused: tuple[str, ...]
    unfused: tuple[str, ...]
    missing: tuple[str, ...]
    unknown: tuple[str, ...]

    def describe_unfused(self, probabilities: Mapping[str, float]) -> JsonObject:
        """Return the fact that tells of those labels which are shown only; empty where there are none."""
        shown = {label: probabilities[label] for label in self.unfused if label in probabilities}
        return {UNFUSED: shown} if shown else {}

    def list_warnings(self) -> list[StageWarning]:
        """Return what a reader of the result must know."""
        if not self.missing and not self.unknown:
            return []
        facts = {"missing": self.missing, "not_fused": self.unfused, "unknown": self.unknown}
        return [StageWarning("labels_missing", {name: [*labels] for name, labels in facts.items()})]


def sort_labels(model: StageName, labels: Sequence[str]) -> LabelRoles:
    """Return what each label of a model's weights is to the fusion."""
    features = LABELS[model]
    return LabelRoles(
        fused=tuple(label for label in labels if label in features),
        unfused=tuple(label for label in labels if label not in features),
        missing=tuple(label for label in features if label not in labels),
        unknown=tuple(label for label in labels if (model, label) not in FINDING_OF_LABEL),
    )
