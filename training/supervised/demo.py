"""The demo weights: a head on the demo CT-CLIP's encoder, taught by phantoms that the encoder has never seen."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import torch
from torch import Tensor

from model_weights.catalogue import ModelEntry
from phantom.study import FINDINGS
from shared.features import SUPERVISED_LABELS
from shared.findings import FINDING_OF_LABEL
from shared.settings import WeightsProfile
from shared.stages import StageName
from training.ct_clip_examples import Example, iterate_examples
from training.examples import Task
from training.phantoms import Prevalence
from training.supervised.base import BaseModel, open_base
from training.supervised.card import list_cells
from training.supervised.fitting import Report, Studies
from training.supervised.learning import Learnt, Material, learn
from training.supervised.measures import compute_macro_auc
from training.supervised.plan import FineTuningPlan, FineTuningStage, Part
from training.supervised.table import Split
from workers.ct_clip.configuration import Architecture, Preprocessing
from workers.ct_clip.conversion import Configuration
from workers.supervised.conversion import publish_classifier

VERSION = "1"
_ENCODED_TOGETHER = 16

TAUGHT: Mapping[str, str] = {
    label: name
    for label in SUPERVISED_LABELS
    if (name := FINDING_OF_LABEL[StageName.SUPERVISED, label].labels.get(StageName.MEDNEXT)) in FINDINGS
}
"""Labels that a phantom has the very finding of, and which; the phantom's findings are named as MedNeXt's."""


@dataclass(frozen=True)
class DemoPlan:
    """Seeds of the three splits never meet, nor those of other models: not even the encoder's."""

    fine_tuning: FineTuningPlan = field(
        default_factory=lambda: FineTuningPlan(stages=(FineTuningStage(Part.HEAD, 100),), head_rate=3e-3, dropout=0.1)
    )
    least_specificity: float = 0.85
    training_studies: int = 500
    validation_studies: int = 150
    held_out_studies: int = 250
    first_training_seed: int = 1_000_000
    first_validation_seed: int = 1_100_000
    first_held_out_seed: int = 1_200_000
    training_prevalence: Prevalence = field(default_factory=lambda: Prevalence(normal=0.2, most_findings=5))
    held_out_prevalence: Prevalence = field(default_factory=lambda: Prevalence(normal=0.3, most_findings=3))

    @property
    def tasks(self) -> Mapping[Split, list[Task]]:
        """The studies of each split."""
        sets = {
            Split.TRAINING: (self.first_training_seed, self.training_studies, self.training_prevalence),
            Split.VALIDATION: (self.first_validation_seed, self.validation_studies, self.held_out_prevalence),
            Split.HELD_OUT: (self.first_held_out_seed, self.held_out_studies, self.held_out_prevalence),
        }
        return {
            split: [Task(seed, prevalence) for seed in range(first, first + count)]
            for split, (first, count, prevalence) in sets.items()
        }


def make_demo(plan: DemoPlan, state: Path, catalogue: Path, *, processes: int, report: Report) -> ModelEntry:
    """Teach, measure and publish; the CT-CLIP of the catalogue gives the encoder."""
    started = time.monotonic()
    state.mkdir(parents=True, exist_ok=True)
    base = open_base(catalogue, Architecture(), Preprocessing())
    material = encode_phantoms(plan, base, state / "examples", processes=processes, report=report)
    learnt = learn(
        base,
        plan.fine_tuning,
        material,
        least_specificity=plan.least_specificity,
        state=state,
        device=torch.device("cpu"),
        report=report,
    )
    report(f"held-out macro AUC {compute_macro_auc(learnt.reports):.3f}")
    card = state / "card.md"
    card.write_text(_write_card(plan, base, learnt, time.monotonic() - started), encoding="utf-8")
    return _publish(base, learnt, catalogue, card)


def make_targets(example: Example) -> list[float]:
    """Return 1 or 0 for each label that phantoms can show; NaN, as unknown, for the others."""
    present = {finding.name for finding in example.findings}
    return [float(TAUGHT[label] in present) if label in TAUGHT else math.nan for label in SUPERVISED_LABELS]


def encode_phantoms(plan: DemoPlan, base: BaseModel, folder: Path, *, processes: int, report: Report) -> Material:
    """Return the latents of all phantoms, which other processes make ahead and `folder` keeps."""
    tasks = plan.tasks
    everything = [task for split in Split for task in tasks[split]]
    examples = iterate_examples(everything, base.preprocessing, folder, processes)
    studies = {split: _encode(base, islice(examples, len(tasks[split])), report) for split in Split}
    return Material(
        labels=SUPERVISED_LABELS,
        studies=studies,
        groups={split: [f"seed {task.seed}" for task in tasks[split]] for split in Split},
    )


@torch.no_grad()
def _encode(base: BaseModel, examples: Iterator[Example], report: Report) -> Studies:
    tower = base.make_tower()
    latents: list[Tensor] = []
    targets: list[list[float]] = []
    while group := [*islice(examples, _ENCODED_TOGETHER)]:
        volumes = torch.stack([torch.from_numpy(example.voxels).float() for example in group])[:, None]
        latents.append(tower(volumes))
        targets += [make_targets(example) for example in group]
        if len(targets) % (8 * _ENCODED_TOGETHER) == 0:
            report(f"encoded {len(targets)} phantoms")
    return Studies(torch.tensor(targets), torch.ones(len(targets)), torch.cat(latents), _refuse_volumes)


def _refuse_volumes(number: int) -> Tensor:
    raise NotImplementedError(f"phantom {number}: the demo's encoder is not trained here")


def _publish(base: BaseModel, learnt: Learnt, catalogue: Path, card: Path) -> ModelEntry:
    configuration = Configuration(
        name="supervised-demo",
        version=VERSION,
        origin=f"trained by training.supervised on procedural phantoms of this repository, from {base.description}",
        licence="Apache-2.0",
        labels=learnt.labels,
        architecture=base.architecture,
        preprocessing=base.preprocessing,
        thresholds=learnt.thresholds,
    )
    return publish_classifier(
        learnt.classifier,
        learnt.labels,
        configuration,
        profile=WeightsProfile.DEMO,
        catalogue=catalogue,
        card=card,
        reference=base.reference,
    )


def _write_card(plan: DemoPlan, base: BaseModel, learnt: Learnt, seconds: float) -> str:
    facts = "\n".join(f"| {name} | {fact} |" for name, fact in _list_facts(plan, base, learnt, seconds).items())
    rows = "\n".join(f"| {' | '.join(list_cells(report))} |" for report in learnt.reports)
    weak = ", ".join(report.label for report in learnt.reports if (report.auc or 0) < 0.7) or "none"
    head, image = (
        sum(each.numel() for each in side.parameters()) for side in (learnt.classifier.head, learnt.classifier.image)
    )
    macro = compute_macro_auc(learnt.reports)
    return f"""# supervised-demo

**Demo, phantoms only, not for clinical use.** A head ({head:,} parameters) on the encoder of the demo CT-CLIP
({image:,} parameters). It makes the product run as a whole without a download and has seen nothing but procedural
phantoms; nothing is claimed for patients.

| | |
|---|---|
{facts}

## Held-out phantoms

Macro AUC **{macro:.3f}** over {len(learnt.reports)} labels. Intervals are 95 %, by bootstrap. Sensitivity and
specificity are at the threshold, which was chosen on the validation phantoms.

| Label | With | Without | Unknown | AUC | Average precision | ECE | Threshold | Sensitivity | Specificity |
|---|---|---|---|---|---|---|---|---|---|
{rows}

## Limits

- Labels that are not here: {", ".join(learnt.untaught)}. No phantom has such a finding. The
  weights have no outputs for them, and every result declares them missing (`labels_missing`): a number that was never
  taught would read as "surely healthy".
- AUC under 0.7: {weak}. What is small beside a token of the encoder is hardly seen.
- Positives weigh more in training, so probabilities lie above the frequency of a label: compare with the threshold.
- Phantoms are simpler than patients: these figures say that the code learns and answers, not how well it reads a chest.
"""


def _list_facts(plan: DemoPlan, base: BaseModel, learnt: Learnt, seconds: float) -> Mapping[str, str]:
    tasks = plan.tasks
    seeds = {split: f"{len(each)} phantoms (seeds {each[0].seed} to {each[-1].seed})" for split, each in tasks.items()}
    tuning = plan.fine_tuning
    return {
        "Command": f"`python -m training.supervised demo --seed {tuning.seed}"
        f" --training-studies {plan.training_studies}`",
        "Encoder": f"that of {base.description}, frozen",
        "Training data": f"{seeds[Split.TRAINING]} that the encoder was not trained on",
        "Updates": f"{tuning.stages[0].epochs} epochs of {tuning.batch} phantoms an update, on latents",
        "Weights kept": f"those of the epoch with the smallest loss on validation phantoms, of {len(learnt.history)}",
        "Thresholds from": f"{seeds[Split.VALIDATION]}, specificity at least {plan.least_specificity}",
        "Measured on": f"{seeds[Split.HELD_OUT]} not used otherwise",
        "Findings": json.dumps(TAUGHT).strip("{}").replace('"', "`").replace("`: `", "` from `"),
        "Training took": f"{seconds / 60:.0f} minutes on two shared cores, beside the time to make phantoms"
        " that were not kept",
        "Licence": "Apache-2.0",
    }
