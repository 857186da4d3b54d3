"""What the models answered, read from the records of their stages. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

from shared.features import get_model, make_feature_name
from shared.findings import Finding
from shared.stages import MODELS, StageName
from shared.states import StageState
from workers.runtime.stage import StageRecord

NO_VALUES = "no_values"
"""Reason of a model that succeeded and wrote no feature, as when it found none of the organs that it looks through."""


@dataclass(frozen=True)
class MissingModel:
    """A model that is not part of the answer, and why: a skip reason, a problem code or the state of its stage."""

    model: StageName
    reason: str


@dataclass(frozen=True)
class Answers:
    """Records of the models that answered, and the others."""

    answered: Mapping[StageName, StageRecord]
    missing: Sequence[MissingModel]

    @property
    def features(self) -> dict[str, float]:
        """All features of all models that answered, by name."""
        return {name: value for record in self.answered.values() for name, value in record.features.items()}

    def get_probabilities(self, finding: Finding) -> dict[StageName, float]:
        """Return the probability that each model gives a finding; models that gave none are absent."""
        found = {
            model: record.features.get(make_feature_name(model, finding.labels[model]), math.nan)
            for model, record in self.answered.items()
            if model in finding.labels
        }
        return {model: probability for model, probability in found.items() if not math.isnan(probability)}

    def get_thresholds(self, finding: Finding) -> dict[StageName, float]:
        """Return each model's own evidence threshold for a finding, where its card has one."""
        return {
            model: thresholds[finding.labels[model]]
            for model, record in self.answered.items()
            if finding.labels.get(model) in (thresholds := _get_thresholds(record))
        }


def collect_answers(records: Mapping[StageName, StageRecord]) -> Answers:
    """Sort the five models into those that answered and those that did not."""
    reasons = {model: _find_reason(records.get(model)) for model in MODELS}
    return Answers(
        answered={model: records[model] for model, reason in reasons.items() if reason is None},
        missing=[MissingModel(model, reason) for model, reason in reasons.items() if reason is not None],
    )


def _find_reason(record: StageRecord | None) -> str | None:
    if record is None:
        return StageState.SKIPPED.value
    if record.state != StageState.SUCCEEDED:
        return record.reason or str(record.state)
    has_values = any(not math.isnan(value) for name, value in record.features.items() if _is_own(name, record.name))
    return None if has_values else NO_VALUES


def _is_own(feature: str, model: StageName) -> bool:
    try:
        return get_model(feature) is model
    except KeyError:
        return False


def _get_thresholds(record: StageRecord) -> Mapping[str, float]:
    return cast("Mapping[str, float]", record.facts.get("thresholds", {}))
