"""What a fusion is worth on studies that it never saw: discrimination, calibration, and whether it names the cause."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from model_weights.policies import Policy
from shared.features import LABELS, get_model
from shared.findings import FINDING_OF_LABEL
from shared.stages import StageName
from shared.states import StageState
from training.fusion_measures import (
    compute_auc,
    compute_auc_interval,
    compute_calibration_error,
    compute_difference_interval,
)
from workers.fusion.aggregates import compute_vector
from workers.fusion.answers import Answers, collect_answers
from workers.fusion.attribution import compute_attribution
from workers.fusion.booster import FusionBooster
from workers.fusion.decision import NO_SPECIFIC_PATHOLOGY, Decision, decide
from workers.runtime.stage import StageRecord

Thresholds = Mapping[StageName, Mapping[str, float]]


@dataclass(frozen=True)
class Case:
    """One study: the features that the models really gave, and what was put into it (names of MedNeXt's classes)."""

    seed: int
    features: Mapping[str, float]
    truth: tuple[str, ...]

    @property
    def is_pathological(self) -> bool:
        """Whether anything was put in."""
        return bool(self.truth)


@dataclass(frozen=True)
class LeadingCounts:
    """Leading findings of the studies with a finding that were called pathological."""

    right: int
    wrong: int
    none: int


@dataclass(frozen=True)
class Report:
    """Measured on some cases with the answers of `models` only; `probabilities` are in the order of the cases.

    Intervals are 95 %, by bootstrap over cases.
    """

    models: tuple[StageName, ...]
    scanner: str
    probabilities: tuple[float, ...]
    pathological: int
    auc: float
    auc_interval: tuple[float, float]
    calibration_error: float
    sensitivity: float
    specificity: float
    leading: LeadingCounts

    @property
    def studies(self) -> int:
        """How many cases were measured."""
        return len(self.probabilities)


@dataclass(frozen=True)
class Comparison:
    """By how much the AUC with the answers of `models` exceeds that with `others`, on the same studies, paired."""

    models: tuple[StageName, ...]
    others: tuple[StageName, ...]
    difference: float
    interval: tuple[float, float]


def evaluate(
    booster: FusionBooster,
    cases: Sequence[Case],
    policy: Policy,
    thresholds: Thresholds,
    *,
    models: Sequence[StageName],
    scanner: str,
    seed: int,
) -> Report:
    """Decide every case as the stage would, with the answers of `models` only."""
    decisions = [_decide(booster, case, policy, thresholds, models) for case in cases]
    labels = np.array([case.is_pathological for case in cases])
    probabilities = np.array([decision.probability for decision in decisions])
    called = np.array([decision.is_pathological for decision in decisions])
    return Report(
        models=tuple(models),
        scanner=scanner,
        probabilities=tuple(probabilities.tolist()),
        pathological=int(labels.sum()),
        auc=compute_auc(labels, probabilities),
        auc_interval=compute_auc_interval(labels, probabilities, seed),
        calibration_error=compute_calibration_error(labels, probabilities),
        sensitivity=float(called[labels].mean()),
        specificity=float(1 - called[~labels].mean()),
        leading=_count_leading(cases, decisions),
    )


def compare(cases: Sequence[Case], report: Report, other: Report, *, seed: int) -> Comparison:
    """Compare two reports of the same cases."""
    labels = np.array([case.is_pathological for case in cases])
    probabilities, others = np.array(report.probabilities), np.array(other.probabilities)
    interval = compute_difference_interval(labels, probabilities, others, seed)
    return Comparison(report.models, other.models, report.auc - other.auc, interval)


def _count_leading(cases: Sequence[Case], decisions: Sequence[Decision]) -> LeadingCounts:
    called = [
        (decision.leading, _name_truth(case))
        for case, decision in zip(cases, decisions, strict=True)
        if case.is_pathological and decision.is_pathological
    ]
    right = sum(leading in truth for leading, truth in called)
    none = sum(leading == NO_SPECIFIC_PATHOLOGY for leading, _ in called)
    return LeadingCounts(right=right, wrong=len(called) - right - none, none=none)


def _decide(
    booster: FusionBooster, case: Case, policy: Policy, thresholds: Thresholds, models: Sequence[StageName]
) -> Decision:
    answers = _make_answers(case, thresholds, models)
    vector = compute_vector(answers.features)
    explanation = booster.explain(vector)
    attribution = compute_attribution(explanation, vector)
    return decide(explanation.probability, policy, answers, attribution.by_finding)


def _make_answers(case: Case, thresholds: Thresholds, models: Sequence[StageName]) -> Answers:
    """Return the answers as the stage reads them from the records of a job."""
    return collect_answers({model: _make_record(case, model, thresholds.get(model, {})) for model in models})


def _make_record(case: Case, model: StageName, thresholds: Mapping[str, float]) -> StageRecord:
    return StageRecord(
        name=model,
        state=StageState.SUCCEEDED,
        reason=None,
        facts={"thresholds": thresholds},
        warnings=(),
        features={name: value for name, value in case.features.items() if get_model(name) is model},
        seconds=None,
    )


def _name_truth(case: Case) -> set[str]:
    labels = LABELS[StageName.MEDNEXT]
    return {FINDING_OF_LABEL[StageName.MEDNEXT, name].name for name in case.truth if name in labels}
