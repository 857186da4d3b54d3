"""The model card of the demo CT-CLIP, written from what was measured."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from phantom.study import FINDINGS
from training.ct_clip_evaluation import LEAST_SPECIFICITY, Answers, LabelReport, compute_macro_auc
from training.ct_clip_plan import TRAINED_LABELS, UNTRAINED_LABELS, CTCLIPPlan
from training.phantoms import Prevalence


@dataclass(frozen=True)
class Run:
    """How the weights came to be: the command, how long it fitted and measured, and how large the model is."""

    command: str
    seconds: float
    image_parameters: int
    text_parameters: int
    vocabulary_size: int


def write_card(plan: CTCLIPPlan, run: Run, answers: Answers, reports: Sequence[LabelReport]) -> str:
    """Return the model card as Markdown."""
    macro, continuous = (compute_macro_auc(answers, each) for each in (answers.probabilities, answers.continuous))
    weak = ", ".join(report.name for report in reports if report.auc < 0.65) or "none"
    unasked = ", ".join(name for name in FINDINGS if name not in TRAINED_LABELS.values())
    return f"""# ct-clip-demo

**Demo, phantoms only, not for clinical use.** A small CT-CLIP ({run.image_parameters:,} parameters for images,
{run.text_parameters:,} for texts) that makes the product run as a whole without a download. It has seen nothing but
procedural phantoms and their written reports; nothing is claimed for patients.

| | |
|---|---|
{_write_lines(f"| {name} | {fact} |" for name, fact in _list_facts(plan, run).items())}

## Held-out phantoms

Macro AUC **{macro:.3f}** over the {len([r for r in reports if r.name in TRAINED_LABELS])} labels that have a finding of
the phantom, through the code book as the product runs it. The same network without its code book: {continuous:.3f}.
{answers.codes_used} of {plan.image.codebook_size} codes were used.

Sensitivity and specificity are at the threshold, which was chosen on the validation phantoms where it left a
specificity of at least {LEAST_SPECIFICITY}; a label that could not be told there better than by a guess has none.

| Label | With | AUC | Threshold | Sensitivity | Specificity |
|---|---|---|---|---|---|
{_write_lines(_write_row(report) for report in reports)}

## Limits

- Phantoms are simpler than patients: these figures say that the code learns and answers, not how well it reads a chest.
- AUC under 0.65: {weak}. What is small beside a token of {_describe_token(plan)} mm is hardly seen.
- {len(UNTRAINED_LABELS)} labels have no finding of the phantom. They were taught as absent only and stay low:
  {", ".join(UNTRAINED_LABELS)}.
- Findings of the phantom that are no label of CT-CLIP: {unasked}. Reports name them.
- Texts of a site are read word by word: words beside those of the prompts and reports fall into single letters, about
  which nothing was learnt.
- The grid is coarser than the full-size model's (1.5 x 0.75 x 0.75 mm); architecture and code path are the same.
"""


def _list_facts(plan: CTCLIPPlan, run: Run) -> Mapping[str, str | int]:
    return {
        "Command": f"`{run.command}`",
        "Seed": plan.seed,
        "Training data": f"{plan.training_studies} phantoms (seeds {_name(plan.training_seeds)}) with reports",
        "Updates": f"{plan.continuous_steps} without the code book, then {plan.quantised_steps} through it,"
        f" of {plan.batch} studies",
        "Learnt from": "each study's report by contrast, each label's two prompts, places of the findings",
        "Thresholds from": f"{plan.validation_studies} other phantoms (seeds {_name(plan.validation_seeds)})",
        "Measured on": f"{plan.held_out_studies} phantoms not used otherwise (seeds {_name(plan.held_out_seeds)})",
        "Findings in training": _describe_prevalence(plan.training_prevalence),
        "Findings otherwise": _describe_prevalence(plan.held_out_prevalence),
        "Grid": f"{plan.preprocessing.spacing_mm} mm, {plan.preprocessing.shape} voxels (slice, x, y)",
        "Vocabulary": f"{run.vocabulary_size} tokens of its own",
        "Training took": f"{run.seconds / 60:.0f} minutes on two shared cores",
        "Licence": "Apache-2.0",
    }


def _describe_token(plan: CTCLIPPlan) -> str:
    edges = (plan.image.temporal_patch_size, plan.image.patch_size, plan.image.patch_size)
    return " x ".join(f"{edge * step:.0f}" for edge, step in zip(edges, plan.preprocessing.spacing_mm, strict=True))


def _describe_prevalence(prevalence: Prevalence) -> str:
    return f"none in {prevalence.normal:.0%} of the studies, else 1 to {prevalence.most_findings}"


def _write_row(report: LabelReport) -> str:
    if report.threshold is None:
        return f"| {report.name} | {report.positives} | {report.auc:.3f} | none | | |"
    return (
        f"| {report.name} | {report.positives} | {report.auc:.3f} | {report.threshold:.3f} |"
        f" {report.sensitivity:.2f} | {report.specificity:.2f} |"
    )


def _write_lines(rows: Iterable[str]) -> str:
    return "\n".join(rows)


def _name(seeds: range) -> str:
    return f"{seeds.start} to {seeds.stop - 1}"
