"""Calibration of the fusion for every set of models that may answer, cross-validated by study.

Training drops whole models, which keeps one booster usable for every set; what it then says of few models is still too
timid or too bold. Every training study is scored by a booster that never saw it, with the answers of each set, and a
line in log-odds (Platt 1999) is fitted to those scores.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterator, Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from model_weights.policies import Calibration, CalibrationLine
from shared.features import get_model
from shared.stages import StageName
from training.evaluation.case import Case
from training.evaluation.reports import list_truth
from workers.fusion.aggregates import compute_vector
from workers.fusion.booster import FusionBooster, list_answering

Fit = Callable[[Sequence[Case]], FusionBooster]
Scores = NDArray[np.float64]

_FEWEST = 20
"""Studies that a line is fitted to; fewer keep the raw score."""

_LEAST_SLOPE = 0.1
"""Where a set tells nothing apart its scores are drawn together, and not turned round."""


def fit_calibration(
    cases: Sequence[Case],
    models: Sequence[StageName],
    fit: Fit,
    *,
    folds: int,
    groups: Sequence[Hashable] | None = None,
    decimals: int = 6,
) -> Calibration:
    """Return a line for each set of models, none included, that enough studies have answers of.

    `groups` has one for each case: studies of one group, as of one patient, are in the same fold, and each fold gets
    its share of the groups with and without pathology. Without them the cases are dealt in turn.
    """
    places = [number % folds for number in range(len(cases))] if groups is None else deal(cases, groups, folds)
    fitted = [fit([case for case, place in zip(cases, places, strict=True) if place != fold]) for fold in range(folds)]
    lines = []
    for subset in _iterate_subsets(models):
        known = [number for number, case in enumerate(cases) if _has(case, subset)]
        if len(known) >= _FEWEST:
            scores = _score(cases, known, subset, fitted, places)
            slope, intercept = fit_line(scores, list_truth([cases[number] for number in known]))
            lines.append(CalibrationLine(subset, round(slope, decimals), round(intercept, decimals)))
    return tuple(lines)


def fit_line(scores: Scores, truth: NDArray[np.bool_]) -> tuple[float, float]:
    """Return slope and intercept, in log-odds. Scores that are all alike are moved to the share of pathology."""
    share = float(np.clip(truth.mean(), 1 / (len(truth) + 1), 1 - 1 / (len(truth) + 1)))
    base = math.log(share / (1 - share))
    if float(np.ptp(scores)) < 1e-6 or truth.all() or not truth.any():
        return 1.0, base - float(scores.mean())
    model = LogisticRegression(C=1e3).fit(scores[:, None], truth)
    slope = float(model.coef_[0, 0])
    if slope < _LEAST_SLOPE:
        return _LEAST_SLOPE, base - _LEAST_SLOPE * float(scores.mean())
    return slope, float(model.intercept_[0])


def deal(cases: Sequence[Case], groups: Sequence[Hashable], folds: int) -> list[int]:
    """Return the fold of each case; groups that are alike in what their studies show are dealt in turn."""
    shown: dict[Hashable, set[bool]] = {}
    for case, group in zip(cases, groups, strict=True):
        shown.setdefault(group, set()).add(case.is_pathological)
    ordered = sorted(shown, key=lambda group: sorted(shown[group]))
    folds_of = {group: number % folds for number, group in enumerate(ordered)}
    return [folds_of[group] for group in groups]


def _iterate_subsets(models: Sequence[StageName]) -> Iterator[tuple[StageName, ...]]:
    return (subset for size in range(len(models) + 1) for subset in combinations(models, size))


def _has(case: Case, subset: Sequence[StageName]) -> bool:
    return set(subset) <= set(list_answering(case.features))


def _score(
    cases: Sequence[Case],
    known: Sequence[int],
    subset: Sequence[StageName],
    fitted: Sequence[FusionBooster],
    folds: Sequence[int],
) -> Scores:
    """Return the raw score of each study by the booster of the fold that left it out, with the answers of the set."""
    scores = np.zeros(len(known))
    for fold, booster in enumerate(fitted):
        places = [place for place, number in enumerate(known) if folds[number] == fold]
        vectors = [compute_vector(_keep(cases[known[place]], subset)) for place in places]
        if vectors:
            scores[places] = booster.score(vectors)
    return scores


def _keep(case: Case, subset: Sequence[StageName]) -> dict[str, float]:
    return {name: value for name, value in case.features.items() if get_model(name) in subset}
