"""Fitting a fusion to answered studies, and measuring it for every set of models that may answer."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import replace

import numpy as np

from shared.stages import StageName
from training.evaluation.case import Case
from training.evaluation.reports import Comparison, Report, compare, evaluate
from training.evaluation.weights import find_policy
from training.fusion_booster import FittedBooster, drop_models, fit_booster
from training.fusion_calibration import fit_calibration
from training.fusion_evidence import choose_evidence
from training.fusion_features import choose_features
from training.fusion_plan import FusionPlan
from workers.fusion.aggregates import compute_vector
from workers.fusion.booster import FusionBooster

Subset = tuple[StageName, ...]
"""The models whose answers are there."""


def fit_fusion(
    plan: FusionPlan, models: Sequence[StageName], cases: Sequence[Case], groups: Sequence[Hashable] | None = None
) -> FittedBooster:
    """Return a booster, calibrated for each set of models, with the thresholds that make an answer evidence.

    `groups`: of each case, as its patient; the calibration never learns from one that it is fitted to.
    """
    calibration = fit_calibration(
        cases, models, lambda some: _fit(plan, models, some).booster, folds=plan.folds, groups=groups
    )
    evidence = choose_evidence(
        cases,
        least_own_auc=plan.least_own_auc,
        least_specificity=plan.least_specificity,
        least_told=plan.least_told,
    )
    return _fit(plan, models, cases).complete(calibration, evidence)


def list_subsets(models: Sequence[StageName]) -> list[Subset]:
    """Return the subsets that are reported: all models, each one alone, each one left out, and none."""
    alone = [(model,) for model in models]
    left_out = [tuple(other for other in models if other != model) for model in models]
    return list(dict.fromkeys([tuple(models), *alone, *left_out, ()]))


def measure_subsets(
    plan: FusionPlan, booster: FusionBooster, models: Sequence[StageName], cases: Sequence[Case], scanner: str
) -> list[Report]:
    """Return a report of each of the subsets, that of all models first."""
    return [measure_subset(plan, booster, subset, cases, scanner) for subset in list_subsets(models)]


def measure_subset(
    plan: FusionPlan, booster: FusionBooster, models: Sequence[StageName], cases: Sequence[Case], scanner: str
) -> Report:
    """Return what the booster is worth with the answers of these models only, under the default policy."""
    thresholds = booster.thresholds or {}
    return evaluate(booster, cases, find_policy(), thresholds, models=models, scanner=scanner, seed=plan.booster.seed)


def compare_with_all(
    cases: Sequence[Case], everything: Report, rest: Sequence[Report], *, seed: int
) -> list[Comparison]:
    """Return what all models are worth beside each smaller subset that answers, the best of them first."""
    others = sorted((report for report in rest if report.models), key=lambda report: -report.auc)
    return [compare(cases, everything, other, seed=seed) for other in others]


def _fit(plan: FusionPlan, models: Sequence[StageName], cases: Sequence[Case]) -> FittedBooster:
    copies = list(_iterate_copies(plan, models, cases))
    return fit_booster(
        [compute_vector(copy.features) for copy in copies],
        [int(copy.is_pathological) for copy in copies],
        plan.booster,
        used=choose_features(cases, plan.least_own_auc, plan.least_told),
    )


def _iterate_copies(plan: FusionPlan, models: Sequence[StageName], cases: Sequence[Case]) -> Iterator[Case]:
    """Yield each case whole, then again without some of the models."""
    generator = np.random.default_rng(plan.booster.seed)
    for case in cases:
        yield case
        for _ in range(plan.copies - 1):
            features = drop_models(case.features, models, rate=plan.dropout, generator=generator)
            yield replace(case, features=features)
