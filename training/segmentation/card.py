"""The model card of the demo segmentation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from training.segmentation.evaluation import OrganReport, RealFinding
from training.segmentation.labels import PAINTED, UNPAINTED
from training.segmentation.plan import Cycle, Phase, SegmentationPlan
from workers.segmentation.labels import TOTAL_NAMES

_LUNGS_NEEDED = 0.9
_TOOK = "Training took"


@dataclass(frozen=True)
class Facts:
    """What the card says of a run beside its plan."""

    command: str
    took: str
    parameters: int


def write_card(plan: SegmentationPlan, facts: Facts, organs: Sequence[OrganReport], real: RealFinding) -> str:
    """Return the model card as Markdown."""
    return f"""# segmentation-demo

**Demo, trained on phantoms only, not for clinical use.** A small nnU-Net ({facts.parameters:,} parameters) for the
label map of TotalSegmentator's task `total` at 3 mm. It makes the product run as a whole without a download; for
patients take the real weights.

| | |
|---|---|
{_write_table(_list_facts(plan, facts))}

## Held-out phantoms

Dice on the study's own grid, through the code of the stage: to 3 mm, network, and back to the nearest voxel. Mean over
the studies that show the organ, with the 95 % interval of the mean (studies drawn anew with replacement).

| Organ | Studies | Dice | Interval | Least |
|---|---|---|---|---|
{_write_organs(organs)}

## A real CT

The bundled chest CT of a patient with COVID-19 (`deploy/demo/chest_covid_small.zip`), which took no part in the
training. Nobody drew its lungs; they are compared with those by density (`training/segmentation/lung_mask.py`: air
that the body encloses, without the airways, closed over vessels). Consolidated lung is not in the latter.

| Lungs | |
|---|---|
| Dice | **{real.dice:.3f}** ({_judge(real.dice)}) |
| Found | {real.found_ml:.0f} ml |
| By density | {real.by_density_ml:.0f} ml |
| Found, though by density no lung: air (of bowel, trachea, clothes around the body) | {real.air_beyond_ml:.0f} ml |
| Found, though by density no lung: tissue (borders, and lung without air) | {real.tissue_beyond_ml:.0f} ml |

{_tell_limits(sum(cycle.steps for cycle in plan.cycles))}"""


def _tell_limits(updates: int) -> str:
    return f"""## Limits

- Trained on phantoms: {len(PAINTED) - 1} of the {len(TOTAL_NAMES)} labels are in them. The other {len(UNPAINTED)} are
  in the map and never chosen: {_list_unpainted()}.
- Where a real CT shows what phantoms lack (bowel, kidneys, pancreas), neighbours spread into it, or it stays
  background. Only the lungs were compared on a real CT; heart, vessels and bones were not.
- Fitted in {updates:,} updates on a CPU: organs with a Dice near 0 above are as good as not found, and whoever needs
  them trains longer.
- The fissures of phantoms are planes, so the border between lobes lies where most patients have it.
- The finest stage looks at single voxels, so thin structures (ribs, small vessels) are rough.
"""


def tell_duration(seconds: float, updates_on_others: int = 0) -> str:
    """Return how a card says how long a training took, and which updates were on phantoms that are made no more."""
    took = f"{seconds / 60:.0f} minutes on two threads of a shared machine"
    if not updates_on_others:
        return took
    return (
        f"{took}; its first {updates_on_others} updates on phantoms as the generator made them before it last changed"
    )


def read_duration(card: str) -> str:
    """Return what an earlier card says of that. Raises ValueError when it says nothing."""
    heading = f"| {_TOOK} | "
    for line in card.splitlines():
        if line.startswith(heading):
            return line.removeprefix(heading).removesuffix(" |")
    raise ValueError("the card does not say how long the training took")


def _list_facts(plan: SegmentationPlan, facts: Facts) -> Mapping[str, str | int]:
    features = ", ".join(str(count) for count in plan.architecture.features_per_stage)
    return {
        "Command": f"`{facts.command}`",
        "Measured again by": f"`{facts.command} --evaluate-only`",
        "Seed": plan.seed,
        "Training data": f"{plan.training_studies} phantoms (seeds {_name(plan.training_seeds)})",
        "Measured on": f"{plan.held_out_studies} phantoms not used otherwise (seeds {_name(plan.held_out_seeds)})",
        "Updates": "; then, from a low rate again, ".join(_describe_cycle(cycle, plan) for cycle in plan.cycles),
        "Network": f"PlainConvUNet, {plan.architecture.n_stages} stages of {features} features, instance norm",
        "Window": f"{' x '.join(map(str, plan.architecture.patch_size))} voxels of 3 mm (z, y, x)",
        _TOOK: facts.took,
        "Licence": "Apache-2.0",
    }


def _describe_cycle(cycle: Cycle, plan: SegmentationPlan) -> str:
    phases = ", then ".join(_describe_phase(phase) for phase in cycle.phases)
    changed = "" if cycle.strength == 1 else f", changed {cycle.strength:g} times as much"
    studies = min(cycle.studies, plan.training_studies)
    return f"{phases} (of the first {studies} phantoms{changed}, {cycle.drawn_voxels:,} voxels in the loss)"


def _describe_phase(phase: Phase) -> str:
    return f"{phase.steps} on {phase.batch} x {' x '.join(map(str, phase.size_zyx))} voxels"


def _judge(dice: float) -> str:
    return f"at least {_LUNGS_NEEDED} was asked" if dice >= _LUNGS_NEEDED else f"less than the {_LUNGS_NEEDED} asked"


def _write_table(facts: Mapping[str, str | int]) -> str:
    return "\n".join(f"| {name} | {fact} |" for name, fact in facts.items())


def _write_organs(organs: Sequence[OrganReport]) -> str:
    return "\n".join(
        f"| {each.name} | {each.studies} | {each.mean:.3f} | {each.low:.3f} to {each.high:.3f} | {each.least:.3f} |"
        for each in organs
    )


def _list_unpainted() -> str:
    return ", ".join(TOTAL_NAMES[label - 1] for label in UNPAINTED)


def _name(seeds: range) -> str:
    return f"{seeds.start} to {seeds.stop - 1}"
