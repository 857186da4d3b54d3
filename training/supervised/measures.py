"""What a classifier is worth on studies with known labels. Pure; intervals are by bootstrap over patients."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score, roc_curve

from training.evaluation.measures import compute_calibration_error

_RESAMPLES = 1000
_INTERVAL = (2.5, 97.5)
_CURVE_POINTS = 40
_DECIMALS = 4

Array = npt.NDArray[np.float64]
"""(studies,) or (studies, labels); targets are 1, 0, or NaN where unknown."""

Interval = tuple[float, float]


@dataclass(frozen=True)
class LabelReport:
    """One label. Figures are None where there was nothing to compare; those of a threshold where none was chosen.

    `curve` holds points (recall, precision).
    """

    label: str
    positives: int
    negatives: int
    unknown: int
    auc: float | None = None
    auc_interval: Interval | None = None
    average_precision: float | None = None
    average_precision_interval: Interval | None = None
    calibration_error: float | None = None
    threshold: float | None = None
    sensitivity: float | None = None
    specificity: float | None = None
    curve: tuple[tuple[float, float], ...] = ()


def choose_thresholds(
    labels: Sequence[str], targets: Array, probabilities: Array, least_specificity: float
) -> dict[str, float]:
    """Return for each label the probability that parts it best (Youden's index) at a specificity of at least so much.

    A label that was seen one way only, or that nothing parts at that specificity, gets none.
    """
    thresholds: dict[str, float] = {}
    for column, label in enumerate(labels):
        known = ~np.isnan(targets[:, column])
        truth = targets[known, column] == 1
        if 0 < truth.sum() < len(truth):
            cut = _choose_cut(truth, probabilities[known, column], least_specificity)
            if cut is not None:
                thresholds[label] = cut
    return thresholds


def report_labels(
    labels: Sequence[str],
    targets: Array,
    probabilities: Array,
    thresholds: Mapping[str, float],
    *,
    groups: Sequence[str],
    seed: int,
) -> list[LabelReport]:
    """Return one report for each label; studies of one group (a patient) are resampled together."""
    drawn = _draw_resamples(groups, seed)
    return [
        _report_label(label, targets[:, column], probabilities[:, column], thresholds.get(label), drawn)
        for column, label in enumerate(labels)
    ]


def compute_macro_auc(reports: Sequence[LabelReport]) -> float | None:
    """Return the mean AUC of the labels that have one."""
    areas = [report.auc for report in reports if report.auc is not None]
    return float(np.mean(areas)) if areas else None


def _choose_cut(truth: npt.NDArray[np.bool_], probabilities: Array, least_specificity: float) -> float | None:
    false_rate, true_rate, cuts = roc_curve(truth, probabilities, drop_intermediate=False)
    index = np.where(1 - false_rate >= least_specificity, true_rate - false_rate, -1.0).argmax()
    if true_rate[index] <= false_rate[index]:
        return None
    # Rounded down, so that the study that set it stays above.
    return float(np.floor(np.clip(cuts[index], 0.01, 0.99) * 10**_DECIMALS) / 10**_DECIMALS)


def _report_label(
    label: str, targets: Array, probabilities: Array, threshold: float | None, drawn: npt.NDArray[np.int64]
) -> LabelReport:
    known = ~np.isnan(targets)
    truth, values = targets[known] == 1, probabilities[known]
    report = LabelReport(label, int(truth.sum()), int((~truth).sum()), int((~known).sum()))
    if not report.positives or not report.negatives:
        return report
    called = None if threshold is None else values >= threshold
    return replace(
        report,
        auc=float(roc_auc_score(truth, values)),
        auc_interval=_compute_interval(_resample_auc(truth, values, drawn[:, known])),
        average_precision=float(average_precision_score(truth, values)),
        average_precision_interval=_compute_interval(_resample_precision(truth, values, drawn[:, known])),
        calibration_error=compute_calibration_error(truth, values),
        threshold=threshold,
        sensitivity=None if called is None else float(called[truth].mean()),
        specificity=None if called is None else float(1 - called[~truth].mean()),
        curve=_make_curve(truth, values),
    )


def _draw_resamples(groups: Sequence[str], seed: int) -> npt.NDArray[np.int64]:
    """Return how often each study was drawn, (resamples, studies)."""
    _, numbers = np.unique(np.asarray(groups), return_inverse=True)
    count = int(numbers.max()) + 1
    drawn = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), _RESAMPLES)
    return np.asarray(drawn[:, numbers])


def _resample_auc(truth: npt.NDArray[np.bool_], values: Array, drawn: npt.NDArray[np.int64]) -> Array:
    """Return the AUC of each resample as the mean over weighted pairs; NaN where one class was not drawn."""
    pairs = (np.sign(values[truth][:, None] - values[~truth][None, :]) + 1) / 2
    positive, negative = drawn[:, truth], drawn[:, ~truth]
    weights = (positive.sum(axis=1) * negative.sum(axis=1)).astype(float)
    weights[weights == 0] = np.nan
    return np.asarray(((positive @ pairs) * negative).sum(axis=1) / weights)


def _resample_precision(truth: npt.NDArray[np.bool_], values: Array, drawn: npt.NDArray[np.int64]) -> Array:
    """Return the average precision of each resample; NaN where no positive was drawn."""
    order = np.argsort(-values, kind="stable")
    right = drawn[:, order] * truth[order]
    found = right.cumsum(axis=1)
    precision = found / np.maximum(drawn[:, order].cumsum(axis=1), 1)
    total = found[:, -1].astype(float)
    total[total == 0] = np.nan
    return np.asarray((precision * right).sum(axis=1) / total)


def _compute_interval(values: Array) -> Interval | None:
    if np.isnan(values).all():
        return None
    low, high = np.nanpercentile(values, _INTERVAL)
    return float(low), float(high)


def _make_curve(truth: npt.NDArray[np.bool_], values: Array) -> tuple[tuple[float, float], ...]:
    precision, recall, _ = precision_recall_curve(truth, values)
    chosen = np.unique(np.linspace(0, len(recall) - 1, min(_CURVE_POINTS, len(recall))).astype(int))
    points = zip(recall[chosen].tolist(), precision[chosen].tolist(), strict=True)
    return tuple((round(x, _DECIMALS), round(y, _DECIMALS)) for x, y in points)
