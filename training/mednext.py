"""`python -m training.mednext`: train the demo MedNeXt on phantoms, measure it on others and publish it.

Seeded and resumable: examples and checkpoints stay in the state folder, and the same command goes on from there.
`--thresholds-only` keeps the published weights, chooses their thresholds again and measures with those.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import numpy.typing as npt
import torch

from model_weights.catalogue import ModelEntry, load_catalogue
from model_weights.loading import load_tensors
from shared.settings import WeightsProfile
from shared.stages import StageName
from training.command import make_parser, say
from training.examples import Example, Task, iterate_examples
from training.mednext_batches import make_targets, make_volumes
from training.mednext_card import (
    ClassReport,
    choose_thresholds,
    compute_macro_auc,
    read_duration,
    report_classes,
    tell_duration,
    write_card,
)
from training.mednext_fitting import Fitting
from training.mednext_plan import CLASSES, MedNeXtPlan
from workers.mednext.configuration import Architecture
from workers.mednext.conversion import Configuration, publish_model
from workers.mednext.model import MedNeXt
from workers.mednext.streaming import predict_logits
from workers.mednext.weights import make_model

VERSION = "1"
_ANSWERED_TOGETHER = 8


@dataclass(frozen=True)
class Answers:
    """What a model said of a set of studies: both (studies, classes)."""

    targets: npt.NDArray[np.float32]
    probabilities: npt.NDArray[np.float32]


@dataclass(frozen=True)
class Measured:
    """Thresholds, and what the model does with them on the held-out studies."""

    thresholds: Mapping[str, float]
    reports: Sequence[ClassReport]


def main(arguments: Sequence[str] | None = None) -> None:
    """Train, measure and publish."""
    options = _parse(arguments)
    torch.set_num_threads(options.threads)
    plan = MedNeXtPlan(
        seed=options.seed,
        training_studies=options.training_studies,
        validation_studies=options.validation_studies,
        held_out_studies=options.held_out_studies,
    )
    make = choose_thresholds_again if options.thresholds_only else train
    entry = make(plan, options.state, options.catalogue, processes=options.processes)
    say(f"published {entry.name} {entry.version}, digest {entry.digest}")


def train(plan: MedNeXtPlan, state: Path, catalogue: Path, *, processes: int) -> ModelEntry:
    """Fit, choose thresholds, measure and publish; each part on seeds of its own."""
    state.mkdir(parents=True, exist_ok=True)
    examples = _iterate(_list_training(plan) + _list_measuring(plan), plan, state, processes)
    fitting = Fitting(plan, state, say)
    model = fitting.run(examples)
    took = tell_duration(fitting.seconds)
    return _publish(model, plan, _measure(model, plan, examples), catalogue, took)


def choose_thresholds_again(plan: MedNeXtPlan, state: Path, catalogue: Path, *, processes: int) -> ModelEntry:
    """Choose and measure the thresholds of the published weights, and publish those. The plan must be theirs."""
    entry = _find_published(catalogue)
    took = read_duration(Path(catalogue.parent, str(entry.card)).read_text(encoding="utf-8"))
    model = make_model(Architecture.from_table(entry.architecture), load_tensors(entry.get_file("weights")))
    measured = _measure(model, plan, _iterate(_list_measuring(plan), plan, state, processes))
    return _publish(model, plan, measured, catalogue, took)


def answer(model: MedNeXt, examples: Iterator[Example]) -> Answers:
    """Return the model's probabilities through the code that the stage runs."""
    targets, probabilities = [], []
    while group := [example for _, example in zip(range(_ANSWERED_TOGETHER), examples, strict=False)]:
        targets.append(np.stack([make_targets(example) for example in group]))
        probabilities.append(model.activate(predict_logits(model, make_volumes(group))).numpy())
    return Answers(np.concatenate(targets), np.concatenate(probabilities))


def _find_published(catalogue: Path) -> ModelEntry:
    for entry in load_catalogue(catalogue):
        if entry.stage is StageName.MEDNEXT and entry.weights_profile is WeightsProfile.DEMO:
            return entry
    raise LookupError("the catalogue has no demo MedNeXt: train one first")


def _list_training(plan: MedNeXtPlan) -> list[Task]:
    return [
        Task(seed, plan.training_prevalence, is_located=True, distractor_share=plan.distractor_share)
        for seed in plan.training_seeds
    ]


def _list_measuring(plan: MedNeXtPlan) -> list[Task]:
    return [
        Task(seed, plan.held_out_prevalence, distractor_share=plan.distractor_share)
        for seed in (*plan.validation_seeds, *plan.held_out_seeds)
    ]


def _iterate(tasks: Sequence[Task], plan: MedNeXtPlan, state: Path, processes: int) -> Iterator[Example]:
    """Yield examples in the order of the tasks, made ahead."""
    return iterate_examples(tasks, plan.preprocessing, state / "examples", processes)


def _measure(model: MedNeXt, plan: MedNeXtPlan, examples: Iterator[Example]) -> Measured:
    """Choose thresholds on the validation studies, which come first, and measure on the held-out ones."""
    validation = answer(model, _take(examples, plan.validation_seeds))
    thresholds = choose_thresholds(validation.targets, validation.probabilities, plan.least_specificity)
    held_out = answer(model, _take(examples, plan.held_out_seeds))
    reports = report_classes(held_out.targets, held_out.probabilities, thresholds)
    say(f"held-out macro AUC {compute_macro_auc(reports):.3f}")
    return Measured(thresholds, reports)


def _publish(model: MedNeXt, plan: MedNeXtPlan, measured: Measured, catalogue: Path, took: str) -> ModelEntry:
    with TemporaryDirectory(prefix="ctclip-") as folder:
        card = Path(folder, "card.md")
        card.write_text(_write_card(model, plan, measured.reports, took), encoding="utf-8")
        return publish_model(model, _configure(plan, measured.thresholds), WeightsProfile.DEMO, catalogue, card)


def _take(examples: Iterator[Example], seeds: range) -> Iterator[Example]:
    for seed in seeds:
        example = next(examples)
        assert example.seed == seed
        yield example


def _write_card(model: MedNeXt, plan: MedNeXtPlan, reports: Sequence[ClassReport], took: str) -> str:
    command = f"python -m training.mednext --seed {plan.seed} --training-studies {plan.training_studies}"
    parameters = sum(parameter.numel() for parameter in model.parameters())
    return write_card(plan, reports, command=command, took=took, parameters=parameters)


def _configure(plan: MedNeXtPlan, thresholds: Mapping[str, float]) -> Configuration:
    return Configuration(
        name="mednext-demo",
        version=VERSION,
        origin="trained by training/mednext.py on procedural phantoms of this repository",
        licence="Apache-2.0",
        classes=CLASSES,
        architecture=plan.architecture,
        preprocessing=plan.preprocessing,
        thresholds=thresholds,
    )


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    plan = MedNeXtPlan()
    parser = make_parser(
        __doc__, plan, ("seed", "training_studies", "validation_studies", "held_out_studies"), "mednext"
    )
    parser.add_argument("--thresholds-only", action="store_true", help="keep the published weights")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
