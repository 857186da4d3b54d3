"""Everything that is measured of one set of weights on answered studies. No I/O."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import combinations

import numpy as np

from model_weights.policies import FindingThresholds, Policy
from shared.errors import Defect
from shared.features import make_feature_name
from shared.findings import FINDINGS, Finding, FindingKind
from shared.stages import StageName
from training.evaluation.case import Case
from training.evaluation.measures import (
    compute_auc,
    compute_auc_interval,
    compute_calibration_error,
)
from training.evaluation.reports import Comparison, Report, compare, evaluate, judge, list_truth
from training.evaluation.weights import Ensemble

SEED = 20260101
"""Of the resamples that intervals and p are taken from."""

_FEWEST = 5
"""Studies of each kind that a figure of a part needs; fewer say nothing."""


@dataclass(frozen=True)
class LabelFigures:
    """What one model's probability is worth for one finding; those of a threshold where the model has one."""

    studies: int
    auc: float
    auc_interval: tuple[float, float]
    calibration_error: float
    threshold: float | None
    sensitivity: float | None
    specificity: float | None


@dataclass(frozen=True)
class FindingFigures:
    """One finding: of the studies that have it, how many were called pathological, and how many it led."""

    finding: Finding
    studies: int
    present: int
    called_share: float
    led_share: float
    models: Mapping[StageName, LabelFigures]


@dataclass(frozen=True)
class PartFigures:
    """The studies of one scanner setting, maker, kernel or thickness; no AUC where one kind is too rare."""

    facet: str
    value: str
    studies: int
    pathological: int
    auc: float | None
    auc_interval: tuple[float, float] | None
    calibration_error: float | None
    sensitivity: float | None
    specificity: float | None


@dataclass(frozen=True)
class Outcome:
    """What the weights are worth. `subsets` begin with all models; `comparisons` are of all models with each subset."""

    ensemble: Ensemble
    policy: Policy
    whole: Report
    subsets: tuple[Report, ...]
    comparisons: tuple[Comparison, ...]
    findings: tuple[FindingFigures, ...]
    parts: tuple[PartFigures, ...]
    seconds_per_study: float | None

    @property
    def alone(self) -> tuple[Report, ...]:
        """The reports of each model alone, the best first."""
        return tuple(sorted((each for each in self.subsets if len(each.models) == 1), key=lambda each: -each.auc))

    @property
    def largest_sum_error(self) -> float:
        """The largest distance of attributions from raw score, over all studies and subsets, in log-odds."""
        return max(each.largest_sum_error for each in self.subsets)


def measure(ensemble: Ensemble, cases: Sequence[Case], policy: Policy) -> Outcome:
    """Measure weights on studies that they answered. Raises Defect where there is nothing to tell apart."""
    truth = list_truth(cases)
    if not truth.any() or truth.all():
        raise Defect(f"{len(cases)} studies of one kind: evaluation needs some with and some without pathology")
    thresholds = _choose_thresholds(ensemble, policy)
    report = partial(evaluate, ensemble.booster, cases, policy, thresholds, scanner="all", seed=SEED)
    subsets = tuple(report(models=models) for models in list_allowed_subsets(ensemble.stages, policy))
    whole = subsets[0]
    seconds = [case.seconds for case in cases if case.seconds is not None]
    return Outcome(
        ensemble=ensemble,
        policy=policy,
        whole=whole,
        subsets=subsets,
        comparisons=tuple(compare(cases, whole, other, seed=SEED) for other in subsets[1:]),
        findings=tuple(_list_findings(ensemble, cases, policy, thresholds)),
        parts=tuple(_list_parts(cases, whole, policy)),
        seconds_per_study=float(np.mean(seconds)) if seconds else None,
    )


def list_allowed_subsets(models: Sequence[StageName], policy: Policy) -> list[tuple[StageName, ...]]:
    """Return all models, then every smaller subset that the policy takes an answer of, the larger first."""
    smaller = (subset for size in range(len(models) - 1, 0, -1) for subset in combinations(models, size))
    return [tuple(models), *(subset for subset in smaller if policy.allows(subset))]


def _choose_thresholds(ensemble: Ensemble, policy: Policy) -> FindingThresholds:
    """Return what counts as evidence: as the policy says, else as the fusion's weights do, else as each model does."""
    of_the_weights = ensemble.booster.choose_thresholds(policy.finding_thresholds)
    return {entry.stage: entry.thresholds for entry in ensemble.models} if of_the_weights is None else of_the_weights


def _list_findings(
    ensemble: Ensemble, cases: Sequence[Case], policy: Policy, thresholds: FindingThresholds
) -> Iterator[FindingFigures]:
    decide = partial(judge, ensemble.booster, policy=policy, thresholds=thresholds, models=ensemble.stages)
    decisions = [decide(case).decision for case in cases]
    for finding in (each for each in FINDINGS if each.kind is FindingKind.FINDING):
        known = [number for number, case in enumerate(cases) if finding.id not in case.unknown]
        present = [number for number in known if finding.id in cases[number].truth]
        if not present:
            continue
        yield FindingFigures(
            finding=finding,
            studies=len(known),
            present=len(present),
            called_share=sum(decisions[number].is_pathological for number in present) / len(present),
            led_share=sum(decisions[number].leading == finding.name for number in present) / len(present),
            models=_measure_labels(ensemble.stages, finding, [cases[number] for number in known], thresholds),
        )


def _measure_labels(
    models: Sequence[StageName], finding: Finding, cases: Sequence[Case], thresholds: FindingThresholds
) -> dict[StageName, LabelFigures]:
    figures: dict[StageName, LabelFigures] = {}
    for model in models:
        label = finding.labels.get(model)
        measured = None if label is None else _measure_label(finding, model, label, thresholds.get(model, {}), cases)
        if measured is not None:
            figures[model] = measured
    return figures


def _measure_label(
    finding: Finding, model: StageName, label: str, thresholds: Mapping[str, float], cases: Sequence[Case]
) -> LabelFigures | None:
    feature = make_feature_name(model, label)
    answered = [case for case in cases if feature in case.features]
    truth = np.array([finding.id in case.truth for case in answered], dtype=bool)
    if min(truth.sum(), (~truth).sum()) < _FEWEST:
        return None
    values = np.array([case.features[feature] for case in answered])
    threshold = thresholds.get(label)
    called = None if threshold is None else values >= threshold
    return LabelFigures(
        studies=len(answered),
        auc=compute_auc(truth, values),
        auc_interval=compute_auc_interval(truth, values, SEED),
        calibration_error=compute_calibration_error(truth, values),
        threshold=threshold,
        sensitivity=None if called is None else float(called[truth].mean()),
        specificity=None if called is None else float(1 - called[~truth].mean()),
    )


def _list_parts(cases: Sequence[Case], whole: Report, policy: Policy) -> Iterator[PartFigures]:
    parts: dict[tuple[str, str], list[int]] = defaultdict(list)
    for number, case in enumerate(cases):
        for facet, value in case.scan.to_document().items():
            parts[facet, value].append(number)
        if case.setting is not None:
            parts["setting", case.setting].append(number)
    for (facet, value), numbers in sorted(parts.items()):
        yield _measure_part(
            facet, value, [cases[number] for number in numbers], [whole.probabilities[n] for n in numbers], policy
        )


def _measure_part(facet: str, value: str, cases: Sequence[Case], told: Sequence[float], policy: Policy) -> PartFigures:
    truth, probabilities = list_truth(cases), np.array(told)
    called = probabilities >= policy.threshold
    has_both = min(truth.sum(), (~truth).sum()) >= _FEWEST
    return PartFigures(
        facet=facet,
        value=value,
        studies=len(cases),
        pathological=int(truth.sum()),
        auc=compute_auc(truth, probabilities) if has_both else None,
        auc_interval=compute_auc_interval(truth, probabilities, SEED) if has_both else None,
        calibration_error=compute_calibration_error(truth, probabilities) if has_both else None,
        sensitivity=float(called[truth].mean()) if truth.any() else None,
        specificity=float(1 - called[~truth].mean()) if not truth.all() else None,
    )
