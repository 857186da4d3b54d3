"""`python -m training.mednext`: train the demo MedNeXt on phantoms, measure it on others and publish it.

Seeded and resumable: examples and checkpoints stay in the state folder, and the same command goes on from there.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from model_weights.catalogue import CATALOGUE_FILE, ModelEntry
from shared.settings import WeightsProfile
from training.examples import Example, Task, iterate_examples
from training.mednext_batches import make_targets, make_volumes
from training.mednext_card import ClassReport, choose_thresholds, compute_macro_auc, report_classes, write_card
from training.mednext_fitting import Fitting
from training.mednext_plan import CLASSES, MedNeXtPlan
from workers.mednext.conversion import Configuration, publish_model
from workers.mednext.model import MedNeXt
from workers.mednext.streaming import predict_logits

VERSION = "1"
_ANSWERED_TOGETHER = 8


@dataclass(frozen=True)
class Answers:
    """What a model said of a set of studies: both (studies, classes)."""

    targets: npt.NDArray[np.float32]
    probabilities: npt.NDArray[np.float32]


def main(arguments: Sequence[str] | None = None) -> None:
    """Train, measure and publish."""
    options = _parse(arguments)
    torch.set_num_threads(options.threads)
    plan = MedNeXtPlan(
        seed=options.seed,
        training_studies=options.training_studies,
        validation_studies=options.validation_studies,
        held_out_studies=options.held_out_studies,
        crop_steps=options.crop_steps,
        whole_steps=options.whole_steps,
        cycles=options.cycles,
    )
    entry = train(plan, options.state, options.catalogue, processes=options.processes)
    _say(f"published {entry.name} {entry.version}, digest {entry.digest}")


def train(plan: MedNeXtPlan, state: Path, catalogue: Path, *, processes: int) -> ModelEntry:
    """Fit, choose thresholds, measure and publish; each part on seeds of its own."""
    started = time.monotonic()
    state.mkdir(parents=True, exist_ok=True)
    examples = _iterate_all(plan, state, processes)
    model = Fitting(plan, state, _say).run(examples)
    validation = answer(model, _take(examples, plan.validation_seeds))
    thresholds = choose_thresholds(validation.targets, validation.probabilities)
    held_out = answer(model, _take(examples, plan.held_out_seeds))
    reports = report_classes(held_out.targets, held_out.probabilities, thresholds)
    seconds = time.monotonic() - started
    _say(f"held-out macro AUC {compute_macro_auc(reports):.3f} after {seconds:.0f} s")
    card = state / "card.md"
    card.write_text(_write_card(model, plan, reports, seconds), encoding="utf-8")
    return publish_model(model, _configure(plan, thresholds), WeightsProfile.DEMO, catalogue, card)


def answer(model: MedNeXt, examples: Iterator[Example]) -> Answers:
    """Return the model's probabilities through the code that the stage runs."""
    targets, probabilities = [], []
    while group := [example for _, example in zip(range(_ANSWERED_TOGETHER), examples, strict=False)]:
        targets.append(np.stack([make_targets(example) for example in group]))
        probabilities.append(model.activate(predict_logits(model, make_volumes(group))).numpy())
    return Answers(np.concatenate(targets), np.concatenate(probabilities))


def _iterate_all(plan: MedNeXtPlan, state: Path, processes: int) -> Iterator[Example]:
    """Yield training, validation and held-out examples in this order, made ahead while the model learns."""
    sets = (
        (plan.training_seeds, plan.training_prevalence, True),
        (plan.validation_seeds, plan.held_out_prevalence, False),
        (plan.held_out_seeds, plan.held_out_prevalence, False),
    )
    tasks = [Task(seed, prevalence, located) for seeds, prevalence, located in sets for seed in seeds]
    return iterate_examples(tasks, plan.preprocessing, state / "examples", processes)


def _take(examples: Iterator[Example], seeds: range) -> Iterator[Example]:
    for seed in seeds:
        example = next(examples)
        assert example.seed == seed
        yield example


def _write_card(model: MedNeXt, plan: MedNeXtPlan, reports: Sequence[ClassReport], seconds: float) -> str:
    command = f"python -m training.mednext --seed {plan.seed} --training-studies {plan.training_studies}"
    command += f" --cycles {plan.cycles}"
    parameters = sum(parameter.numel() for parameter in model.parameters())
    return write_card(plan, reports, command=command, seconds=seconds, parameters=parameters)


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
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--seed", type=int, default=plan.seed)
    parser.add_argument("--training-studies", type=int, default=plan.training_studies)
    parser.add_argument("--validation-studies", type=int, default=plan.validation_studies)
    parser.add_argument("--held-out-studies", type=int, default=plan.held_out_studies)
    parser.add_argument("--crop-steps", type=int, default=plan.crop_steps, help="updates on crops, which come first")
    parser.add_argument("--whole-steps", type=int, default=plan.whole_steps, help="updates on whole studies")
    parser.add_argument("--cycles", type=int, default=plan.cycles, help="how often both are done")
    parser.add_argument("--state", type=Path, default=Path(".ctclip/training/mednext"), help="examples, checkpoints")
    parser.add_argument("--catalogue", type=Path, default=CATALOGUE_FILE, help="where the model is published")
    parser.add_argument("--processes", type=int, default=1, help="processes that make phantoms ahead")
    parser.add_argument("--threads", type=int, default=1, help="threads of the network")
    return parser.parse_args(arguments)


def _say(message: str) -> None:
    sys.stderr.write(f"{message}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    main()
