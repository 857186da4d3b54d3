"""The model card of the demo fVLM, written from what was measured."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from training.fvlm.evaluation import MaskKind
from training.fvlm.plan import TAUGHT, FVLMPlan
from training.phantoms import Prevalence
from training.supervised.measures import LabelReport, compute_macro_auc

_WEAK_AUC = 0.65


@dataclass(frozen=True)
class Run:
    """How the weights came to be: the command, how long it fitted, and how large the model is."""

    command: str
    seconds: float
    image_parameters: int
    text_parameters: int


@dataclass(frozen=True)
class Measured:
    """Reports of the held-out studies by the masks that were given, and what is said of items that were not taught."""

    reports: Mapping[MaskKind, Sequence[LabelReport]]
    untaught: Mapping[str, float]


def write_card(plan: FVLMPlan, run: Run, measured: Measured) -> str:
    """Return the model card as Markdown."""
    return f"""# fvlm-demo

**Demo, phantoms only, not for clinical use.** A small fVLM ({run.image_parameters:,} parameters for images,
{run.text_parameters:,} for sentences) that makes the product run as a whole without a download. It has seen nothing but
procedural phantoms and their organs; nothing is claimed for patients.

| | |
|---|---|
{_write_lines(f"| {name} | {fact} |" for name, fact in _list_facts(plan, run).items())}

## Held-out phantoms

{_write_lines(_write_macro(kind, reports) for kind, reports in measured.reports.items())}

Intervals hold 95% of 1000 bootstrap samples of the studies. Sensitivity and specificity are at the threshold, which was
chosen on the validation phantoms, by masks with errors, where it left a specificity of at least
{plan.least_specificity:.0%}. An item without one gives no evidence of its own.

{_write_lines(_write_table(kind, reports) for kind, reports in measured.reports.items())}
## Limits

{_write_limits(plan, measured)}
"""


def _list_facts(plan: FVLMPlan, run: Run) -> Mapping[str, str | int]:
    stages = ", ".join(f"{stage.steps} on {stage.batch} crops of {stage.tokens} tokens" for stage in plan.crop_stages)
    return {
        "Command": f"`{run.command}`",
        "Seed": plan.seed,
        "Training data": f"{plan.training_studies} phantoms (seeds {_name(plan.training_seeds)})",
        "Updates": f"{stages}; then {plan.whole_steps} of all but the encoder on {plan.whole_batch} of"
        f" {plan.whole_studies} whole studies",
        "Learnt from": "each item's pair of sentences beside its organ, and where findings lie",
        "Masks in training": "the phantom's organs with a segmenter's errors: moved, bulged, a lobe or dense lung lost",
        "Thresholds from": f"{plan.validation_studies} other phantoms (seeds {_name(plan.validation_seeds)})",
        "Measured on": f"{plan.held_out_studies} phantoms not used otherwise (seeds {_name(plan.held_out_seeds)})",
        "Findings in training": _describe_prevalence(plan.training_prevalence),
        "Findings otherwise": _describe_prevalence(plan.held_out_prevalence),
        "Grid": f"geometry `{plan.preprocessing.geometry}` on {plan.preprocessing.spacing_mm} mm (z, y, x),"
        f" tokens of {plan.image.patch_size} voxels",
        "Fitting took": f"{run.seconds / 60:.0f} minutes, with one thread on two cores busy with other work",
        "Licence": "Apache-2.0",
    }


def _write_macro(kind: MaskKind, reports: Sequence[LabelReport]) -> str:
    macro = compute_macro_auc(reports)
    studies = reports[0].positives + reports[0].negatives + reports[0].unknown
    told = "nothing to compare" if macro is None else f"macro AUC **{macro:.3f}**"
    return f"- With {kind}: {told} over {sum(each.auc is not None for each in reports)} items, {studies} studies."


def _write_table(kind: MaskKind, reports: Sequence[LabelReport]) -> str:
    heading = f"### With {kind}\n\n| Item | With | AUC | Interval | Threshold | Sensitivity | Specificity |"
    return f"{heading}\n|---|---|---|---|---|---|---|\n{_write_lines(map(_write_row, reports))}\n"


def _write_row(report: LabelReport) -> str:
    if report.auc is None or report.auc_interval is None:
        return f"| {report.label} | {report.positives} | | | | | |"
    low, high = report.auc_interval
    measured = f"| {report.label} | {report.positives} | {report.auc:.3f} | {low:.2f} to {high:.2f} |"
    if report.threshold is None:
        return f"{measured} none | | |"
    return f"{measured} {report.threshold:.3f} | {report.sensitivity:.2f} | {report.specificity:.2f} |"


def _write_limits(plan: FVLMPlan, measured: Measured) -> str:
    reports = measured.reports[MaskKind.TRUE]
    weak = ", ".join(each.label for each in reports if each.auc is not None and each.auc < _WEAK_AUC) or "none"
    untaught = ", ".join(f"{name} ({mean:.2f})" for name, mean in measured.untaught.items())
    joined = ", ".join(f"{name} ({' or '.join(told)})" for name, told in TAUGHT.items() if len(told) > 1)
    token = " x ".join(
        f"{e * s:.0f}" for e, s in zip(plan.image.patch_size, plan.preprocessing.spacing_mm, strict=True)
    )
    return f"""- Phantoms are simpler than patients: these figures say that the code learns and answers, not how well it
  reads a chest.
- **Not taught**, because no phantom has them: {untaught}. In brackets stands what the model
  says of the held-out phantoms on average. They have no threshold, and nothing may be read from them.
- AUC under {_WEAK_AUC} with true masks: {weak}.
  A token is {token} mm (z, y, x).
- Several findings of the phantom stand for one item: {joined}.
  A mass stands for Lung cancer.
- Masks of the phantom take pleural fluid and air as lung; a segmenter for patients may not.
- The grid is coarser than the full-size model's (3 x 1 x 1 mm); architecture and code path are the same."""


def _describe_prevalence(prevalence: Prevalence) -> str:
    return f"none in {prevalence.normal:.0%} of the studies, else 1 to {prevalence.most_findings}"


def _write_lines(lines: Iterable[str]) -> str:
    return "\n".join(lines)


def _name(seeds: range) -> str:
    return f"{seeds.start} to {seeds.stop - 1}"
