"""What is measured of the demo MedNeXt, and the model card that says it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from sklearn.metrics import roc_auc_score

from training.mednext_plan import CLASSES, Cycle, MedNeXtPlan
from training.phantoms import Prevalence
from training.thresholds import choose_threshold

_Array = npt.NDArray[np.float32]

_TOOK = "Training took"


@dataclass(frozen=True)
class ClassReport:
    """One class on held-out phantoms; `auc` is None where there was nothing to compare.

    Without a `threshold` no probability of the class is evidence.
    """

    name: str
    positives: int
    auc: float | None
    threshold: float | None
    sensitivity: float | None
    specificity: float | None


def choose_thresholds(targets: _Array, probabilities: _Array, least_specificity: float) -> Mapping[str, float]:
    """Return the threshold of each class that has one."""
    chosen = {
        name: choose_threshold(targets[:, column] > 0, probabilities[:, column], least_specificity)
        for column, name in enumerate(CLASSES)
    }
    return {name: threshold for name, threshold in chosen.items() if threshold is not None}


def report_classes(targets: _Array, probabilities: _Array, thresholds: Mapping[str, float]) -> Sequence[ClassReport]:
    """Return one report for each class."""
    return [
        _report_class(name, targets[:, column] > 0, probabilities[:, column], thresholds.get(name))
        for column, name in enumerate(CLASSES)
    ]


def compute_macro_auc(reports: Sequence[ClassReport]) -> float:
    """Return the mean AUC of the classes that have one."""
    return float(np.mean([report.auc for report in reports if report.auc is not None]))


def write_card(plan: MedNeXtPlan, reports: Sequence[ClassReport], *, command: str, took: str, parameters: int) -> str:
    """Return the model card as Markdown; `took` says how long the training did."""
    facts = _list_facts(plan, reports, command=command, took=took)
    measured = [report for report in reports if report.auc is not None]
    return f"""# mednext-demo

**Demo, phantoms only, not for clinical use.** A small MedNeXt ({parameters:,} parameters) that makes the product run
as a whole without a download. It has seen nothing but procedural phantoms; nothing is claimed for patients.

| | |
|---|---|
{_write_lines(f"| {name} | {fact} |" for name, fact in facts.items())}

## Held-out phantoms

Macro AUC **{compute_macro_auc(reports):.3f}** over {len(measured)} classes.
Sensitivity and specificity are at the threshold, which was at least {plan.least_specificity:.0%} specific where it was
chosen. A class without one gives no evidence of its own and speaks through the fusion alone.

| Class | With | AUC | Threshold | Sensitivity | Specificity |
|---|---|---|---|---|---|
{_write_lines(_write_row(report) for report in reports)}

## Limits

- Phantoms are simpler than patients: these figures say that the code learns and answers, not how well it reads a chest.
- Small findings (a rib fracture, a calcification of the coronaries) are near the size of a voxel of the 4 mm grid.
- The grid is coarser than the full-size model's (1 x 1 x 1.5 mm); architecture and code path are the same.
"""


def tell_duration(seconds: float) -> str:
    """Return how a card says how long a training took."""
    return f"{seconds / 60:.0f} minutes on two shared cores"


def read_duration(card: str) -> str:
    """Return what an earlier card says of that. Raises ValueError when it says nothing."""
    heading = f"| {_TOOK} | "
    for line in card.splitlines():
        if line.startswith(heading):
            return line.removeprefix(heading).removesuffix(" |")
    raise ValueError("the card does not say how long the training took")


def _list_facts(
    plan: MedNeXtPlan, reports: Sequence[ClassReport], *, command: str, took: str
) -> Mapping[str, str | int]:
    untrained = ", ".join(report.name for report in reports if report.auc is None)
    return {
        "Command": f"`{command}`",
        "Seed": plan.seed,
        "Training data": f"{plan.training_studies} phantoms (seeds {_name(plan.training_seeds)})",
        "Updates": "; then, from a low rate again, ".join(_describe_cycle(each, plan) for each in plan.cycles),
        "Thresholds from": f"{plan.validation_studies} other phantoms (seeds {_name(plan.validation_seeds)})",
        "Measured on": f"{plan.held_out_studies} phantoms not used otherwise (seeds {_name(plan.held_out_seeds)})",
        "Findings in training": _describe_prevalence(plan.training_prevalence),
        "Findings otherwise": _describe_prevalence(plan.held_out_prevalence),
        "Look-alikes that are normal": f"each with a chance of {plan.distractor_share:.0%}",
        "Grid": f"{plan.preprocessing.spacing_xyz_mm} mm, {plan.preprocessing.roi_xyz} voxels (x, y, z)",
        _TOOK: took,
        "Classes without training": untrained or "none",
        "Licence": "Apache-2.0",
    }


def _describe_cycle(cycle: Cycle, plan: MedNeXtPlan) -> str:
    crops = f"{cycle.crop_steps} on {plan.crop_batch} crops" if cycle.crop_steps else ""
    studies = f"{cycle.whole_steps} on {cycle.batch} whole studies" if cycle.whole_steps else ""
    return ", then ".join(part for part in (crops, studies) if part)


def _describe_prevalence(prevalence: Prevalence) -> str:
    return f"none in {prevalence.normal:.0%} of the studies, else 1 to {prevalence.most_findings}"


def _write_lines(rows: Iterable[str]) -> str:
    return "\n".join(rows)


def _report_class(name: str, is_present: npt.NDArray[np.bool_], values: _Array, threshold: float | None) -> ClassReport:
    positives = int(is_present.sum())
    if not 0 < positives < len(is_present):
        return ClassReport(name, positives, None, threshold, None, None)
    auc = float(roc_auc_score(is_present, values))
    if threshold is None:
        return ClassReport(name, positives, auc, None, None, None)
    is_called = values >= threshold
    sensitivity, specificity = is_called[is_present].mean(), 1 - is_called[~is_present].mean()
    return ClassReport(name, positives, auc, threshold, float(sensitivity), float(specificity))


def _write_row(report: ClassReport) -> str:
    if report.auc is None:
        return f"| {report.name} | {report.positives} | untrained | | | |"
    if report.threshold is None:
        return f"| {report.name} | {report.positives} | {report.auc:.3f} | none | | |"
    return (
        f"| {report.name} | {report.positives} | {report.auc:.3f} | {report.threshold:.3f} |"
        f" {report.sensitivity:.2f} | {report.specificity:.2f} |"
    )


def _name(seeds: range) -> str:
    return f"{seeds.start} to {seeds.stop - 1}"
