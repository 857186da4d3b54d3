"""The evaluation as JSON. The first fields are those that scripts rely on; all figures of the page are in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from shared.stages import StageName
from training.evaluation.case import LeftOut
from training.evaluation.measures import PairedDifference
from training.evaluation.outcome import FindingFigures, Outcome
from training.evaluation.reports import Report

Document = dict[str, Any]


@dataclass(frozen=True)
class Evaluation:
    """One run: of what studies (`source`, in words), one set of weights, and another one beside it where asked for."""

    source: str
    outcome: Outcome
    other: Outcome | None
    difference: PairedDifference | None
    left_out: Sequence[LeftOut]


def make_document(evaluation: Evaluation) -> Document:
    """Return all figures. `leading_finding_correct` is over studies with a finding, called or not."""
    told = _tell_outcome(evaluation.outcome)
    against = None if evaluation.other is None else _tell_outcome(evaluation.other)
    return {
        **told,
        "source": evaluation.source,
        "left_out": [asdict(each) for each in evaluation.left_out],
        "against": against,
        "better_than_against": None if evaluation.difference is None else _tell_difference(evaluation.difference),
    }


def _tell_outcome(outcome: Outcome) -> Document:
    whole, alone = outcome.whole, outcome.alone
    compared = {each.others: each.paired for each in outcome.comparisons}
    return {
        "n": whole.studies,
        "auc": whole.auc,
        "auc_interval": list(whole.auc_interval),
        "auc_by_model": {str(each.models[0]): each.auc for each in alone},
        "ece": whole.calibration_error,
        "leading_finding_correct": whole.leading_share,
        "seconds_per_study": outcome.seconds_per_study,
        "pathological": whole.pathological,
        "sensitivity": whole.sensitivity,
        "specificity": whole.specificity,
        "threshold": outcome.policy.threshold,
        "policy_id": outcome.policy.id,
        "leading": {**asdict(whole.leading), "correct_of_called": _share_called(whole)},
        "largest_sum_error": outcome.largest_sum_error,
        "better_than_each_model": {
            str(each.models[0]): _tell_difference(compared[each.models]) for each in alone if each.models in compared
        },
        "cost_of_each_model": {
            str(model): _tell_difference(compared[rest])
            for model in whole.models
            if (rest := _leave_out(whole.models, model)) in compared
        },
        "reliability": [asdict(each) for each in whole.bins],
        "by_subset": [_tell_report(each) for each in outcome.subsets],
        "by_finding": [_tell_finding(each) for each in outcome.findings],
        "by_scan": [asdict(each) for each in outcome.parts],
        "weights": [
            {"stage": str(each.stage), "name": each.name, "version": each.version, "digest": each.digest}
            for each in (*outcome.ensemble.models, outcome.ensemble.fusion)
        ],
    }


def _leave_out(models: Sequence[StageName], model: StageName) -> tuple[StageName, ...]:
    return tuple(other for other in models if other != model)


def _share_called(report: Report) -> float | None:
    return report.leading.right / report.leading.called if report.leading.called else None


def _tell_difference(paired: PairedDifference) -> Document:
    return {"auc_difference": paired.difference, "interval": list(paired.interval), "p": paired.p}


def _tell_report(report: Report) -> Document:
    return {
        "models": [str(model) for model in report.models],
        "auc": report.auc,
        "auc_interval": list(report.auc_interval),
        "ece": report.calibration_error,
        "sensitivity": report.sensitivity,
        "specificity": report.specificity,
        "leading_finding_correct": report.leading_share,
    }


def _tell_finding(figures: FindingFigures) -> Document:
    return {
        "finding": figures.finding.id,
        "studies": figures.studies,
        "present": figures.present,
        "called_share": figures.called_share,
        "led_share": figures.led_share,
        "models": {str(model): asdict(each) for model, each in figures.models.items()},
    }
