"""The report of a fine-tuning as one HTML page without scripts or anything from elsewhere."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from html import escape

from training.supervised.card import SPLIT_NAMES, format_figure, list_cells, list_facts
from training.supervised.measures import LabelReport, compute_macro_auc
from training.supervised.outcome import LeftOut, Outcome

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 72rem; padding: 0 1rem; color: #222 }
table { border-collapse: collapse; margin: 1rem 0 } th, td { padding: .25rem .7rem; text-align: left }
th { border-bottom: 2px solid #888 } td { border-bottom: 1px solid #ddd } code { font-size: 13px }
svg { background: #fafafa; border: 1px solid #ddd; margin: .3rem } .doubt { background: #fff3cd; padding: .5rem 1rem }
figure { display: inline-block; margin: .3rem } figcaption { font-size: 13px }
"""
_COLUMNS = (
    "Label", "With", "Without", "Unknown", "AUC (95 %)", "Average precision (95 %)", "ECE", "Threshold", "Sensitivity",
    "Specificity",
)  # fmt: skip
_WIDE, _HIGH = 640, 240
_SMALL = 180

Points = Sequence[tuple[float, float]]


def write_report(outcome: Outcome) -> str:
    """Return the page."""
    doubts = "".join(f'<p class="doubt">{escape(doubt)}</p>' for doubt in outcome.doubts)
    facts = _write_table((), ([name, fact.strip("`")] for name, fact in list_facts(outcome).items()))
    macro = format_figure(compute_macro_auc(outcome.labels))
    return f"""<!doctype html>
<html lang="en"><meta charset="utf-8"><title>{escape(outcome.name)}</title><style>{_STYLE}</style>
<h1>{escape(outcome.name)}</h1>
<p><b>Research use only. Not a medical device.</b></p>
{doubts}
{facts}
<h2>Labels, on {SPLIT_NAMES[outcome.measured_on]} studies</h2>
<p>Macro AUC <b>{macro}</b>. Intervals are by bootstrap over patients. Thresholds were chosen on validation studies.</p>
{_write_table(_COLUMNS, (list_cells(report) for report in outcome.labels))}
<h2>Loss</h2>
{_draw_losses(outcome)}
<h2>Precision over recall</h2>
{"".join(_draw_precision(report) for report in outcome.labels if report.curve)}
<h2>Lines of the table that were left out ({len(outcome.left_out)})</h2>
{_write_left_out(outcome.left_out)}
</html>
"""


def _write_left_out(left_out: Sequence[LeftOut]) -> str:
    if not left_out:
        return "<p>None.</p>"
    rows = ([str(each.line), SPLIT_NAMES[each.split], each.problem, each.detail] for each in left_out)
    return _write_table(("Line", "Split", "Problem", "What was found"), rows)


def _write_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    head = f"<tr>{''.join(f'<th>{escape(column)}</th>' for column in columns)}</tr>" if columns else ""
    body = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows)
    return f"<table>{head}{body}</table>"


def _draw_losses(outcome: Outcome) -> str:
    """Draw both losses over the epochs; a dot marks the epoch whose weights were kept."""
    history = outcome.history
    lines = {
        "#1f77b4": [(float(each.epoch), each.training_loss) for each in history],
        "#d62728": [(float(each.epoch), each.validation_loss) for each in history],
    }
    known = [loss for points in lines.values() for _, loss in points if not math.isnan(loss)]
    if not known:
        return "<p>No loss was computed.</p>"
    low, high = min(known), max(known)
    span = (high - low) or 1.0
    across = max(1, len(history) - 1)
    drawn = "".join(
        _draw_line([((x - 1) / across, (y - low) / span) for x, y in points if not math.isnan(y)], colour, _WIDE, _HIGH)
        for colour, points in lines.items()
    )
    best = outcome.best_epoch
    height = best.training_loss if math.isnan(best.validation_loss) else best.validation_loss
    x, y = _place((best.epoch - 1) / across, (height - low) / span, _WIDE, _HIGH)
    dot = f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4"/>'
    caption = (
        f"Blue: training; red: validation; from {low:.4f} to {high:.4f} over {len(history)} epochs;"
        f" weights of epoch {best.epoch} were kept."
    )
    return (
        f'<figure><svg width="{_WIDE}" height="{_HIGH}">{drawn}{dot}</svg><figcaption>{caption}</figcaption></figure>'
    )


def _draw_precision(report: LabelReport) -> str:
    line = _draw_line(report.curve, "#1f77b4", _SMALL, _SMALL)
    caption = f"{escape(report.label)}: {format_figure(report.average_precision)}"
    return f'<figure><svg width="{_SMALL}" height="{_SMALL}">{line}</svg><figcaption>{caption}</figcaption></figure>'


def _draw_line(points: Points, colour: str, width: int, height: int) -> str:
    """Draw points whose both values lie in 0..1."""
    places = (_place(x, y, width, height) for x, y in points)
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    return f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>'


def _place(x: float, y: float, width: int, height: int) -> tuple[float, float]:
    margin = 10
    return margin + x * (width - 2 * margin), height - margin - y * (height - 2 * margin)
