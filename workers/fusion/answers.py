"""What the models answered, read from the records of their stages. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from model_weights.policies import FindingThresholds
from shared.features import FEATURE_NAMES, get_model, make_feature_name
from shared.findings import Finding
from shared.json_values import JsonObject
from shared.stages import MODELS, StageName
from shared.states import StageState
from workers.label_roles import UNFUSED
from workers.runtime.stage import StageRecord

NO_VALUES = "no_values"
"""Reason of a model that succeeded and wrote no feature, as when it found none of the organs that it looks through."""

NOT_FUSED = "not_fused"
"""Reason of a model all of whose labels are others than the fusion's: it is shown, and was not weighed."""

_TOLD_OF_A_MAP = ("volume", "log_odds", "place")


@dataclass(frozen=True)
class MissingModel:
    """A model that is not part of the answer, and why: a skip reason, a problem code or the state of its stage."""

    model: StageName
    reason: str


@dataclass(frozen=True)
class Answers:
    """Records of the models that answered, and the others.

    `shown` are the records whose evidence is shown: those that answered, and those that said only what no feature of
    the fusion carries. Those are missing from the probability, and are declared so. `thresholds`: from what probability
    on each model stands for a finding; None where the model cards say it, as they do of labels that are not weighed.
    """

    answered: Mapping[StageName, StageRecord]
    missing: Sequence[MissingModel]
    shown: Mapping[StageName, StageRecord]
    thresholds: FindingThresholds | None = None

    @property
    def features(self) -> dict[str, float]:
        """All features of all models that answered, by name."""
        return {name: value for record in self.answered.values() for name, value in record.features.items()}

    def get_probabilities(self, finding: Finding) -> dict[StageName, float]:
        """Return the probability that each model gives a finding; models that gave none are absent."""
        return {model: _get_probability(self.shown[model], label) for model, label in self._find_labels(finding)}

    def get_thresholds(self, finding: Finding) -> dict[StageName, float]:
        """Return from what probability on each model's answer is evidence of a finding, where it ever is."""
        return {
            model: thresholds[label]
            for model, label in self._find_labels(finding)
            if label in (thresholds := self._get_table(model))
        }

    def _get_table(self, model: StageName) -> Mapping[str, float]:
        record = self.shown[model]
        of_the_card = _get_thresholds(record)
        if self.thresholds is None:
            return of_the_card
        unfused = {label: of_the_card[label] for label in _get_unfused(record) if label in of_the_card}
        return {**unfused, **self.thresholds.get(model, {})}

    def get_relevance(self, finding: Finding) -> dict[StageName, JsonObject]:
        """Return where each model saw a finding, of the models that tell it and for the findings they tell it of."""
        return {
            model: place
            for model, label in self._find_labels(finding)
            if (place := _find_relevance(self.shown[model], label)) is not None
        }

    def _find_labels(self, finding: Finding) -> list[tuple[StageName, str]]:
        """Return the models that spoke of a finding, each with its label; of two, the one that was weighed."""
        spoken = (
            (model, [label for label in finding.list_labels(model) if not math.isnan(_get_probability(record, label))])
            for model, record in self.shown.items()
        )
        return [(model, labels[0]) for model, labels in spoken if labels]


def collect_answers(records: Mapping[StageName, StageRecord], thresholds: FindingThresholds | None = None) -> Answers:
    """Sort the five models into those that answered and those that did not."""
    reasons = {model: _find_reason(records.get(model)) for model in MODELS}
    return Answers(
        answered={model: records[model] for model, reason in reasons.items() if reason is None},
        missing=[MissingModel(model, reason) for model, reason in reasons.items() if reason is not None],
        shown={model: records[model] for model, reason in reasons.items() if reason in {None, NOT_FUSED}},
        thresholds=thresholds,
    )


def _find_reason(record: StageRecord | None) -> str | None:
    if record is None:
        return StageState.SKIPPED.value
    if record.state != StageState.SUCCEEDED:
        return record.reason or str(record.state)
    has_values = any(not math.isnan(value) for name, value in record.features.items() if _is_own(name, record.name))
    if has_values:
        return None
    return NOT_FUSED if record.facts.get(UNFUSED) else NO_VALUES


def _is_own(feature: str, model: StageName) -> bool:
    return feature in FEATURE_NAMES and get_model(feature) is model


def _get_probability(record: StageRecord, label: str) -> float:
    """Return what a model said of a label; NaN where it said nothing."""
    return _get_unfused(record).get(label, record.features.get(make_feature_name(record.name, label), math.nan))


def _get_unfused(record: StageRecord) -> Mapping[str, float]:
    """Return what a model said of labels that the fusion does not weigh."""
    return cast("Mapping[str, float]", record.facts.get(UNFUSED, {}))


def _get_thresholds(record: StageRecord) -> Mapping[str, float]:
    return cast("Mapping[str, float]", record.facts.get("thresholds", {}))


def _find_relevance(record: StageRecord, label: str) -> JsonObject | None:
    relevance = cast("Mapping[str, Any]", record.facts.get("relevance", {}))
    told = next((each for each in relevance.get("findings", ()) if each["label"] == label), None)
    if told is None:
        return None
    of_map = {name: value for name, value in told.items() if name in _TOLD_OF_A_MAP}
    return {"artifact": relevance["artifact"], "reference": relevance["reference"], **of_map}
