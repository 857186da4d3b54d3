"""The report of a fine-tuning as one HTML page without scripts or anything from elsewhere."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from training.page import STYLE, draw_dot, draw_figure, draw_line, write_table
from training.supervised.card import SPLIT_NAMES, format_figure, list_cells, list_facts
from training.supervised.measures import LabelReport, compute_macro_auc
from training.supervised.outcome import LeftOut, Outcome

_COLUMNS = (
    "Label", "With", "Without", "Unknown", "AUC (95 %)", "Average precision (95 %)", "ECE", "Threshold", "Sensitivity",
    "Specificity",
)  # fmt: skip
_WIDE, _HIGH = 640, 240
_SMALL = 180


def write_report(outcome: Outcome) -> str:
    """Return the page."""
    doubts = "".join(f'<p class="doubt">{escape(doubt)}</p>' for doubt in outcome.doubts)
    facts = write_table((), ([name, fact.strip("`")] for name, fact in list_facts(outcome).items()))
    macro = format_figure(compute_macro_auc(outcome.labels))
    return f"""<!doctype html>
<html lang="en"><meta charset="utf-8"><title>{escape(outcome.name)}</title><style>{STYLE}</style>
<h1>{escape(outcome.name)}</h1>
<p><b>Research use only. Not a medical device.</b></p>
{doubts}
{facts}
<h2>Labels, on {SPLIT_NAMES[outcome.measured_on]} studies</h2>
<p>Macro AUC <b>{macro}</b>. Intervals are by bootstrap over patients. Thresholds were chosen on validation studies.</p>
{write_table(_COLUMNS, (list_cells(report) for report in outcome.labels))}
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
    return write_table(("Line", "Split", "Problem", "What was found"), rows)


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
        draw_line([((x - 1) / across, (y - low) / span) for x, y in points if not math.isnan(y)], colour, _WIDE, _HIGH)
        for colour, points in lines.items()
    )
    best = outcome.best_epoch
    height = best.training_loss if math.isnan(best.validation_loss) else best.validation_loss
    dot = draw_dot(((best.epoch - 1) / across, (height - low) / span), "#000", 4, _WIDE, _HIGH)
    caption = (
        f"Blue: training; red: validation; from {low:.4f} to {high:.4f} over {len(history)} epochs;"
        f" weights of epoch {best.epoch} were kept."
    )
    return draw_figure(f"{drawn}{dot}", caption, _WIDE, _HIGH)


def _draw_precision(report: LabelReport) -> str:
    line = draw_line(report.curve, "#1f77b4", _SMALL, _SMALL)
    return draw_figure(line, f"{report.label}: {format_figure(report.average_precision)}", _SMALL, _SMALL)
