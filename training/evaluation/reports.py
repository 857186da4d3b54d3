"""What a fusion is worth on studies that it never saw: discrimination, calibration, and whether it names the cause."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model_weights.policies import Policy
from shared.features import get_model
from shared.findings import FINDINGS
from shared.stages import StageName
from shared.states import StageState
from training.evaluation.case import Case
from training.evaluation.measures import (
    Bin,
    PairedDifference,
    compare_areas,
    compute_auc,
    compute_auc_interval,
    compute_calibration_error,
    list_bins,
)
from workers.fusion.aggregates import compute_vector
from workers.fusion.answers import Answers, collect_answers
from workers.fusion.attribution import compute_attribution
from workers.fusion.booster import FusionBooster
from workers.fusion.decision import NO_SPECIFIC_PATHOLOGY, Decision, decide
from workers.runtime.stage import StageRecord

Thresholds = Mapping[StageName, Mapping[str, float]]

_NAMES = {finding.id: finding.name for finding in FINDINGS}


@dataclass(frozen=True)
class LeadingCounts:
    """Leading findings of the studies with a finding that were called pathological.

    `untold` counts apart, called or not, the studies with a finding of which nobody told what a leading one would be
    held against: nobody looked for the one that led, or for any.
    """

    right: int
    wrong: int
    none: int
    untold: int = 0

    @property
    def called(self) -> int:
        """How many studies were called pathological and could be judged."""
        return self.right + self.wrong + self.none


@dataclass(frozen=True)
class Judged:
    """One decision, the raw score behind it, and by how much the attributions miss it (both in log-odds)."""

    decision: Decision
    raw_score: float
    sum_error: float


@dataclass(frozen=True)
class Report:
    """Measured on some cases with the answers of `models` only; `probabilities` are in the order of the cases.

    Intervals are 95 %, by bootstrap over cases. `largest_sum_error` is the largest distance, over all cases, of base
    value plus attributions from the raw score, in log-odds.
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
    bins: tuple[Bin, ...]
    largest_sum_error: float

    @property
    def studies(self) -> int:
        """How many cases were measured."""
        return len(self.probabilities)

    @property
    def leading_share(self) -> float | None:
        """Share of studies with a finding whose leading finding is really there; class 0 leads with none.

        Over those of which it can be judged; None where there is no such study.
        """
        judged = self.pathological - self.leading.untold
        return self.leading.right / judged if judged else None


@dataclass(frozen=True)
class Comparison:
    """By how much the AUC with the answers of `models` exceeds that with `others`, on the same studies, paired."""

    models: tuple[StageName, ...]
    others: tuple[StageName, ...]
    paired: PairedDifference


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
    """Decide every case as the stage would, with the answers of `models` only. Raises Defect where sums do not hold."""
    judged = [judge(booster, case, policy, thresholds, models) for case in cases]
    labels = list_truth(cases)
    probabilities = np.array([each.decision.probability for each in judged])
    called = np.array([each.decision.is_pathological for each in judged])
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
        leading=_count_leading(cases, [each.decision for each in judged]),
        bins=list_bins(labels, probabilities),
        largest_sum_error=max(each.sum_error for each in judged),
    )


def list_truth(cases: Sequence[Case]) -> NDArray[np.bool_]:
    """Return which cases are pathological (cases,)."""
    return np.array([case.is_pathological for case in cases], dtype=bool)


def compare(cases: Sequence[Case], report: Report, other: Report, *, seed: int) -> Comparison:
    """Compare two reports of the same cases."""
    paired = compare_areas(list_truth(cases), np.array(report.probabilities), np.array(other.probabilities), seed)
    return Comparison(report.models, other.models, paired)


def _count_leading(cases: Sequence[Case], decisions: Sequence[Decision]) -> LeadingCounts:
    judged = [_judge_leading(case, decision) for case, decision in zip(cases, decisions, strict=True)]
    return LeadingCounts(**{name: judged.count(name) for name in ("right", "wrong", "none", "untold")})


def _judge_leading(case: Case, decision: Decision) -> str | None:
    """Return how a leading finding counts; None where there is nothing to lead, or where the study was not called."""
    if not case.is_pathological:
        return None
    if not decision.is_pathological:
        return None if case.truth else "untold"
    if decision.leading == NO_SPECIFIC_PATHOLOGY:
        return "none"
    if decision.leading in _list_names(case.unknown):
        return "untold"
    return "right" if decision.leading in _list_names(case.truth) else "wrong"


def _list_names(findings: Iterable[str]) -> set[str]:
    return {_NAMES[finding] for finding in findings if finding in _NAMES}


def judge(
    booster: FusionBooster, case: Case, policy: Policy, thresholds: Thresholds, models: Sequence[StageName]
) -> Judged:
    """Decide one case as the stage would. Raises Defect where base value and attributions are not the raw score."""
    answers = _make_answers(case, thresholds, models)
    vector = compute_vector(answers.features)
    explanation = booster.explain(vector, policy.calibration)
    attribution = compute_attribution(explanation, vector)
    total = math.fsum((attribution.base_value, *attribution.by_model.values()))
    return Judged(
        decide(explanation.probability, policy, answers, attribution.by_finding),
        explanation.raw_score,
        abs(total - explanation.raw_score),
    )


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
