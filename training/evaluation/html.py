"""The evaluation as one HTML page: nothing is fetched, nothing is run."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from shared.stages import StageName
from training.evaluation.document import Evaluation
from training.evaluation.measures import Bin, PairedDifference
from training.evaluation.outcome import FindingFigures, Outcome, PartFigures
from training.evaluation.reports import Report
from training.page import STYLE, draw_dot, draw_figure, draw_line, write_table

_SIZE = 260
_UNKNOWN = "-"

_SUBSETS = (
    "Models that answered", "AUC (95 %)", "ECE", "Sensitivity", "Specificity", "Leading finding right",
    "All models: AUC more (95 %)", "p",
)  # fmt: skip
_FINDINGS = (
    "Finding", "Studies with it", "Called pathological", "It led", "Model", "AUC (95 %)", "ECE", "Threshold",
    "Sensitivity", "Specificity",
)  # fmt: skip
_PARTS = ("", "", "Studies (pathological)", "AUC (95 %)", "ECE", "Sensitivity", "Specificity")


def write_page(evaluation: Evaluation) -> str:
    """Return the page."""
    outcomes = [each for each in (evaluation.outcome, evaluation.other) if each is not None]
    return f"""<!doctype html>
<html lang="en"><meta charset="utf-8"><title>Evaluation</title><style>{STYLE}</style>
<h1>Evaluation: {escape(evaluation.source)}</h1>
<p><b>Research use only. Not a medical device.</b> Figures on phantoms measure the software, not medicine.</p>
{_write_summary(outcomes, evaluation.difference)}
{"".join(_write_outcome(outcome) for outcome in outcomes)}
{_write_left_out(evaluation)}
</html>
"""


def _write_summary(outcomes: Sequence[Outcome], difference: PairedDifference | None) -> str:
    """Return the main figures, one column for each set of weights."""
    names = [outcome.ensemble.fusion.digest[:12] for outcome in outcomes]
    columns = [_list_figures(outcome) for outcome in outcomes]
    rows = [[name, *(column[name] for column in columns)] for name in columns[0]]
    told = "" if difference is None else f"<p>AUC of the first minus the second: {_format_difference(difference)}</p>"
    return f"{write_table(('Fusion', *names), rows)}{told}"


def _list_figures(outcome: Outcome) -> dict[str, str]:
    whole = outcome.whole
    return {
        "Studies (pathological)": f"{whole.studies} ({whole.pathological})",
        "AUC (95 %)": _format_interval(whole.auc, whole.auc_interval),
        "ECE": f"{whole.calibration_error:.3f}",
        f"Sensitivity at {outcome.policy.threshold:g}": f"{whole.sensitivity:.3f}",
        f"Specificity at {outcome.policy.threshold:g}": f"{whole.specificity:.3f}",
        "Leading finding right, of all pathological": _format(whole.leading_share),
        "Leading finding right, wrong, none, of those called": ", ".join(
            map(str, (whole.leading.right, whole.leading.wrong, whole.leading.none))
        ),
        "Largest error of the sums (log-odds)": f"{outcome.largest_sum_error:.1e}",
        "Seconds a study": _format(outcome.seconds_per_study),
        "Policy": outcome.policy.id,
        "Models": ", ".join(f"{entry.name} {entry.digest[:8]}" for entry in outcome.ensemble.models),
    }


def _write_outcome(outcome: Outcome) -> str:
    compared = {each.others: each.paired for each in outcome.comparisons}
    return f"""<h2>Weights {outcome.ensemble.fusion.digest[:12]}</h2>
<h3>Reliability</h3>
{_draw_reliability(outcome.whole.bins)}
<h3>Each allowed subset of the models</h3>
<p>The row of a model alone is what the product answers with that model only. The last columns compare all models with
the subset: paired over the same studies, two-sided, by bootstrap.</p>
{write_table(_SUBSETS, (_list_subset(each, compared.get(each.models)) for each in outcome.subsets))}
<h3>Findings</h3>
{write_table(_FINDINGS, (row for each in outcome.findings for row in _list_finding(each)))}
<h3>Scanners</h3>
{write_table(_PARTS, (_list_part(each) for each in outcome.parts))}
"""


def _draw_reliability(bins: Sequence[Bin]) -> str:
    """Draw the share of pathological studies over the probability; larger dots have more studies."""
    most = max(each.studies for each in bins)
    dots = (
        draw_dot((each.mean_probability, each.pathological_share), "#1f77b4", 3 + 6 * each.studies / most, _SIZE, _SIZE)
        for each in bins
    )
    diagonal = draw_line(((0, 0), (1, 1)), "#bbb", _SIZE, _SIZE)
    line = draw_line([(each.mean_probability, each.pathological_share) for each in bins], "#1f77b4", _SIZE, _SIZE)
    caption = "Share of pathological studies (up) over the probability (right)"
    return draw_figure(f"{diagonal}{line}{''.join(dots)}", caption, _SIZE, _SIZE)


def _list_subset(report: Report, paired: PairedDifference | None) -> list[str]:
    return [
        _name(report.models),
        _format_interval(report.auc, report.auc_interval),
        f"{report.calibration_error:.3f}",
        f"{report.sensitivity:.3f}",
        f"{report.specificity:.3f}",
        _format(report.leading_share),
        _UNKNOWN if paired is None else f"{paired.difference:+.3f} ({_join(paired.interval)})",
        _UNKNOWN if paired is None else f"{paired.p:.4f}",
    ]


def _list_finding(figures: FindingFigures) -> Iterable[list[str]]:
    head = [
        figures.finding.name,
        f"{figures.present} of {figures.studies}",
        f"{figures.called_share:.2f}",
        f"{figures.led_share:.2f}",
    ]
    if not figures.models:
        yield [*head, *[_UNKNOWN] * 6]
    for number, (model, each) in enumerate(figures.models.items()):
        yield [
            *(head if number == 0 else [""] * len(head)),
            str(model),
            _format_interval(each.auc, each.auc_interval),
            f"{each.calibration_error:.3f}",
            *map(_format, (each.threshold, each.sensitivity, each.specificity)),
        ]


def _list_part(part: PartFigures) -> list[str]:
    auc = _UNKNOWN if part.auc is None or part.auc_interval is None else _format_interval(part.auc, part.auc_interval)
    figures = (part.calibration_error, part.sensitivity, part.specificity)
    return [part.facet, part.value, f"{part.studies} ({part.pathological})", auc, *map(_format, figures)]


def _write_left_out(evaluation: Evaluation) -> str:
    if not evaluation.left_out:
        return ""
    rows = ([str(each.line), each.code, each.detail] for each in evaluation.left_out)
    return f"<h2>Lines that were left out</h2>{write_table(('Line', 'Code', 'What was found'), rows)}"


def _name(models: Iterable[StageName]) -> str:
    return ", ".join(models)


def _format(value: float | None) -> str:
    return _UNKNOWN if value is None else f"{value:.3f}"


def _format_interval(value: float, interval: tuple[float, float]) -> str:
    return f"{value:.3f} ({_join(interval)})"


def _format_difference(paired: PairedDifference) -> str:
    return f"{paired.difference:+.3f} ({_join(paired.interval)}), p {paired.p:.4f}"


def _join(interval: tuple[float, float]) -> str:
    return f"{interval[0]:.3f} to {interval[1]:.3f}"
