"""The model card of a fine-tuned classifier, as Markdown."""

from __future__ import annotations

from collections.abc import Mapping

from training.supervised.measures import Interval, LabelReport, compute_macro_auc
from training.supervised.outcome import Outcome
from training.supervised.table import Split

SPLIT_NAMES: Mapping[Split, str] = {
    Split.TRAINING: "training",
    Split.VALIDATION: "validation",
    Split.HELD_OUT: "held-out",
}


def write_card(outcome: Outcome) -> str:
    """Return the card."""
    facts = "\n".join(f"| {name} | {fact} |" for name, fact in list_facts(outcome).items())
    rows = "\n".join(f"| {' | '.join(list_cells(report))} |" for report in outcome.labels)
    doubts = "\n".join(f"- {doubt}" for doubt in outcome.doubts)
    return f"""# {outcome.name}

**Research use only. Not a medical device.** A classifier on the image latents of CT-CLIP, fine-tuned from a table of
studies and labels. The figures are those of that table; nothing is claimed for other patients or scanners.

| | |
|---|---|
{facts}

## {SPLIT_NAMES[outcome.measured_on].capitalize()} studies

Macro AUC **{format_figure(compute_macro_auc(outcome.labels))}**. Intervals are 95 %, by bootstrap over patients.
Sensitivity and specificity are at the threshold, which was chosen on the validation studies.

| Label | With | Without | Unknown | AUC | Average precision | ECE | Threshold | Sensitivity | Specificity |
|---|---|---|---|---|---|---|---|---|---|
{rows}

{doubts}
"""


def list_facts(outcome: Outcome) -> Mapping[str, str]:
    """Return what was done, by name."""
    plan = outcome.plan
    stages = ", ".join(f"{stage.epochs} epochs of {stage.part}" for stage in plan.stages)
    kept = f"epoch {outcome.best_epoch.epoch} of {len(outcome.history)}, by the loss on validation studies"
    return {
        "Command": f"`{outcome.command}`",
        "Started from": outcome.base,
        "Licence": outcome.licence,
        "Head": str(plan.head),
        "Stages": stages,
        "Weights kept": kept,
        "Code book": "frozen, unlike in CT-CLIP's own training, where it drifted with every batch",
        "Rates": f"head {plan.head_rate:g}, encoder {plan.encoder_rate:g}; weight decay {plan.weight_decay:g}",
        "Studies": ", ".join(
            f"{outcome.counts[split]} {SPLIT_NAMES[split]} (of {outcome.groups[split]} patients)"
            if outcome.has_patients
            else f"{outcome.counts[split]} {SPLIT_NAMES[split]}"
            for split in Split
        ),
        "Left out": f"{len(outcome.left_out)} lines of the table",
        "Thresholds": f"Youden's index on validation studies, specificity at least {outcome.least_specificity:g}",
        "Seed": str(plan.seed),
        "Training took": f"{outcome.seconds / 60:.1f} minutes",
    }


def format_figure(value: float | None, interval: Interval | None = None) -> str:
    """Return a figure with its interval; a dash where there is none."""
    if value is None:
        return "-"
    return f"{value:.3f}" if interval is None else f"{value:.3f} ({interval[0]:.3f} to {interval[1]:.3f})"


def list_cells(report: LabelReport) -> list[str]:
    """Return the figures of a label as both texts show them: counts, AUC, precision, calibration, at the threshold."""
    return [
        report.label,
        str(report.positives),
        str(report.negatives),
        str(report.unknown),
        format_figure(report.auc, report.auc_interval),
        format_figure(report.average_precision, report.average_precision_interval),
        format_figure(report.calibration_error),
        format_figure(report.threshold),
        format_figure(report.sensitivity),
        format_figure(report.specificity),
    ]
