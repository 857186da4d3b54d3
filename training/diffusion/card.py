"""The model card of the demo diffusion detector: what was measured, as it was measured."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from training.diffusion.choosing import Tried
from training.diffusion.examples import CHANGED_HU, SHOWN_PIXELS
from training.diffusion.localisation import Estimate
from training.diffusion.mapping import LEAST_PIXELS
from training.diffusion.plan import FINDINGS_IN_SLICES, SMALL_FINDINGS, DiffusionPlan, FittingPlan
from training.phantoms import Prevalence

MAP, PLAIN, REFINED = "map", "plain baseline", "refined baseline"
"""What is compared on the same slices."""


def name_difference(baseline: str) -> str:
    """Return what the paired difference to a baseline is called."""
    return f"map minus {baseline}"


@dataclass(frozen=True)
class Localised:
    """Pointing game and Dice of each map that is compared, and the paired differences."""

    slices: int
    studies: int
    hits: Mapping[str, Estimate]
    dice: Mapping[str, Estimate]


@dataclass(frozen=True)
class Classified:
    """How well slices and studies are told apart; `findings`: studies with that one alone, and their AUC."""

    slice_auc: Estimate
    mean_auc: Estimate
    largest_auc: Estimate
    findings: Mapping[str, tuple[int, float]]


@dataclass(frozen=True)
class Measured:
    """Everything that the card says in figures."""

    classified: Classified
    localised: Localised
    best: Tried
    tried: Sequence[Tried]
    parameters: Mapping[str, int]


def write_card(plan: DiffusionPlan, measured: Measured, *, command: str, took: str) -> str:
    """Return the card as Markdown; `took` says how long the run that wrote it did."""
    facts = _list_facts(plan, command=command, took=took)
    return f"""# diffusion-demo

**Demo, phantoms only, not for clinical use.** A small noise predictor ({measured.parameters["unet"]:,} parameters) and
a small slice classifier ({measured.parameters["classifier"]:,}) that make the product run as a whole without a
download. They have seen nothing but procedural phantoms; nothing is claimed for patients.

| | |
|---|---|
{_join(f"| {name} | {fact} |" for name, fact in facts.items())}

{_tell_classified(measured.classified)}

{_tell_localisation(measured)}

{_tell_choice(measured)}

{_tell_limits(plan)}"""


def _tell_classified(classified: Classified) -> str:
    return f"""## Held-out phantoms: slice classifier

Mean and 95 % interval over resampled studies. A slice shows a lesion where the findings changed at least {LEAST_PIXELS}
pixels by {CHANGED_HU} HU or more against the same patient without them, and none where they changed no pixel so much.
Slices in between are left out.

| AUC of | |
|---|---|
| slices with a lesion against slices without | {classified.slice_auc} |
| studies with findings against studies without, largest score | {classified.largest_auc} |
| the same, mean score | {classified.mean_auc} |

Studies with one finding alone against studies without any, by the largest score. They are few for each finding, so the
second decimal says little:

| Finding | Studies | AUC |
|---|---|---|
{_join(f"| {name} | {count} | {auc:.2f} |" for name, (count, auc) in classified.findings.items())}"""


def _tell_localisation(measured: Measured) -> str:
    return f"""## Held-out phantoms: does the map point at the lesion?

{_describe_localised(measured.localised)}

{_judge(measured.localised)}

| | Peak in the lesion (pointing game) | Dice at the threshold |
|---|---|---|
{_join(_tell_row(name, measured.localised) for name in measured.localised.hits)}

The baseline is the difference to the mean healthy training slice of the same number, aligned by the same preprocessing:
plain, as it is; refined, cut to the body and smoothed as the map is. Each has the threshold, and where it is smoothed
the smoothing, that were best for it on the validation studies. Differences are paired, slice by slice."""


def _tell_choice(measured: Measured) -> str:
    shape = measured.best.choice.shape
    return f"""## How the reconstruction was chosen

On the validation studies, one thing after another, by pointing game and Dice together. Taken:
**{measured.best.candidate}**, smoothing {shape.smoothing_mm:g} mm, regions from {shape.threshold_hu:g} HU.

| Tried | Peak in the lesion | Dice | Smoothing |
|---|---|---|---|
{_join(_tell_tried(each) for each in measured.tried)}"""


def _tell_limits(plan: DiffusionPlan) -> str:
    return f"""## Limits

- Phantoms are simpler than patients: these figures say that the code learns and answers, not how well it finds disease.
- The classifier was taught that a slice is pathological where findings change {SHOWN_PIXELS} pixels or more by
  {CHANGED_HU} HU. What changes less, as all but severe mosaic attenuation, was not shown to it as such.
- Maps were chosen and measured on studies with these findings alone: {", ".join(FINDINGS_IN_SLICES)}.
- A slice is {plan.preprocessing.slice_size} pixels wide, of 5 x 3.75 mm each: a small nodule is one or two of them.
- The classifier knows noise up to time {plan.last_time}, the noise predictor up to {plan.late_times[1]}, whose variance
  is untrained: steps without new noise do not ask for it.
- The training was short (see above); a longer one, on a free machine, would be expected to do better.
"""


def _list_facts(plan: DiffusionPlan, *, command: str, took: str) -> Mapping[str, str | int]:
    unet, late, classifier = plan.unet_fitting, plan.late_fitting, plan.classifier_fitting
    return {
        "Command": f"`{command}`",
        "Seed": plan.seed,
        "Data of the classifier": (
            f"slices of {len(plan.classifier_seeds)} phantoms (seeds {_name(plan.classifier_seeds)}),"
            f" {_tell_prevalence(plan.classifier_prevalence)}; each look-alike with a chance of"
            f" {plan.distractor_share:.0%}, contrast in {plan.contrast_share:.0%}"
        ),
        "Updates of the classifier": (
            f"{plan.small_fitting.steps} on {_tell_batch(plan, plan.small_fitting)}, all clean, of small findings alone"
            f" ({', '.join(SMALL_FINDINGS)}); then {classifier.steps} on {_tell_batch(plan, classifier)},"
            f" {plan.small_share:.0%} of the pairs with a small finding, {plan.clean_share:.0%} without added noise;"
            f" where lesions lie is taught too (weight {plan.place_weight:g})"
        ),
        "The classifier is measured on": (
            f"{plan.classifier_held_out_studies} other phantoms (seeds {_name(plan.classifier_held_out_seeds)}),"
            f" {_tell_prevalence(plan.classifier_held_out_prevalence)}; look-alikes and contrast as in its training"
        ),
        "Data of the noise predictor": f"slices of {plan.training_studies} others (seeds {_name(plan.training_seeds)})",
        "Updates of the noise predictor": (
            f"{unet.steps}, batches of {unet.batch} crops of {plan.crop} pixels, the last {plan.whole_steps} of"
            f" {unet.batch // 2} whole slices ({plan.healthy_share:.0%} healthy); then {late.steps},"
            f" batches of {late.batch} whole healthy slices at times {plan.late_times[0]} to {plan.late_times[1]}"
        ),
        "Maps are chosen on": f"{plan.validation_studies} other phantoms (seeds {_name(plan.validation_seeds)})",
        "Maps are measured on": f"{plan.held_out_studies} further phantoms (seeds {_name(plan.held_out_seeds)})",
        "Findings for the noise predictor and maps": _tell_prevalence(plan.prevalence),
        "Fitting took": took,
        "Licence": "Apache-2.0",
    }


def _describe_localised(localised: Localised) -> str:
    return f"{localised.slices} slices with a lesion, of {localised.studies} studies, at most three of each."


def _judge(localised: Localised) -> str:
    """Return in words what the paired intervals say: a baseline is beaten where zero lies below both of them."""
    beaten = [
        baseline
        for baseline in (PLAIN, REFINED)
        if min(values[name_difference(baseline)].low for values in (localised.hits, localised.dice)) > 0
    ]
    if not beaten:
        return "**The map beats neither baseline**: it shows that the path runs, not that it finds lesions."
    return f"The map beats the {' and the '.join(beaten)}, by both measures."


def _tell_row(name: str, localised: Localised) -> str:
    return f"| {name} | {localised.hits[name]} | {localised.dice[name]} |"


def _tell_tried(tried: Tried) -> str:
    choice = tried.choice
    return f"| {tried.candidate} | {choice.hits:.3f} | {choice.dice:.3f} | {choice.shape.smoothing_mm:g} mm |"


def _tell_prevalence(prevalence: Prevalence) -> str:
    most = prevalence.most_findings
    if not prevalence.normal:
        return f"each with {'one finding' if most == 1 else f'1 to {most} findings'}"
    return f"no finding in {prevalence.normal:.0%} of the studies, else {'one' if most == 1 else f'1 to {most}'}"


def _tell_batch(plan: DiffusionPlan, fitting: FittingPlan) -> str:
    pairs = plan.count_pairs(fitting)
    others = fitting.batch - 2 * pairs
    return f"{pairs} pairs of a slice with one finding and the same without it, and {others} others without"


def _name(seeds: range) -> str:
    return f"{seeds.start} to {seeds.stop - 1}"


def _join(rows: Iterable[str]) -> str:
    return "\n".join(rows)
