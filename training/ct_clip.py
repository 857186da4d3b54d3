"""`python -m training.ct_clip`: train the demo CT-CLIP on phantoms and their reports, measure it and publish it.

Seeded and resumable: examples and checkpoints stay in the state folder, and the same command goes on from there.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path

import torch

from model_weights.catalogue import ModelEntry
from shared.features import CT_CLIP_LABELS
from shared.settings import WeightsProfile
from training.command import make_parser, say
from training.ct_clip_card import Run, write_card
from training.ct_clip_evaluation import answer, choose_thresholds, compute_macro_auc, report_labels
from training.ct_clip_examples import Example, iterate_examples
from training.ct_clip_fitting import Fitting
from training.ct_clip_plan import CTCLIPPlan
from training.ct_clip_vocabulary import make_vocabulary
from training.examples import Task
from workers.ct_clip.conversion import Configuration, publish_model
from workers.ct_clip.model import CTCLIP
from workers.ct_clip.relevance import make_reference

VERSION = "1"


def main(arguments: Sequence[str] | None = None) -> None:
    """Train, measure and publish."""
    options = _parse(arguments)
    torch.set_num_threads(options.threads)
    chosen = {
        name: getattr(options, name)
        for name in (
            "seed",
            "training_studies",
            "validation_studies",
            "held_out_studies",
            "continuous_steps",
            "quantised_steps",
        )
    }
    entry = train(replace(CTCLIPPlan(), **chosen), options.state, options.catalogue, processes=options.processes)
    say(f"published {entry.name} {entry.version}, digest {entry.digest}")


def train(plan: CTCLIPPlan, state: Path, catalogue: Path, *, processes: int) -> ModelEntry:
    """Fit, choose thresholds, measure and publish; each part on seeds of its own."""
    state.mkdir(parents=True, exist_ok=True)
    examples = _iterate_all(plan, state, processes)
    fitting = Fitting(plan, state, say)
    model = fitting.run(examples)
    validation = answer(model, islice(examples, plan.validation_studies))
    thresholds = choose_thresholds(validation)
    answers = answer(model, islice(examples, plan.held_out_studies))
    reports = report_labels(answers, thresholds)
    say(f"held-out macro AUC {compute_macro_auc(answers, answers.probabilities):.3f}")
    vocabulary = state / "vocabulary.txt"
    vocabulary.write_text(make_vocabulary(), encoding="utf-8")
    card = state / "card.md"
    card.write_text(write_card(plan, _describe_run(plan, model, fitting.seconds), answers, reports), encoding="utf-8")
    configuration = _configure(plan, model, thresholds, vocabulary)
    reference = make_reference(model.image.encoder.code_book, [validation.healthy_codes])
    return publish_model(model, configuration, WeightsProfile.DEMO, catalogue, card, reference=reference)


def _iterate_all(plan: CTCLIPPlan, state: Path, processes: int) -> Iterator[Example]:
    """Yield training, validation and held-out examples in this order, made ahead while the model learns."""
    sets = (
        (plan.training_seeds, plan.training_prevalence, True),
        (plan.validation_seeds, plan.held_out_prevalence, False),
        (plan.held_out_seeds, plan.held_out_prevalence, False),
    )
    tasks = [Task(seed, prevalence, located) for seeds, prevalence, located in sets for seed in seeds]
    return iterate_examples(tasks, plan.preprocessing, state / "examples", processes)


def _describe_run(plan: CTCLIPPlan, model: CTCLIP, seconds: float) -> Run:
    command = f"python -m training.ct_clip --seed {plan.seed} --training-studies {plan.training_studies}"
    command += f" --continuous-steps {plan.continuous_steps} --quantised-steps {plan.quantised_steps}"
    sizes = [sum(each.numel() for each in side.parameters()) for side in (model.image, model.text)]
    return Run(command, seconds, sizes[0], sizes[1], model.text.vocabulary_size)


def _configure(plan: CTCLIPPlan, model: CTCLIP, thresholds: Mapping[str, float], vocabulary: Path) -> Configuration:
    return Configuration(
        name="ct-clip-demo",
        version=VERSION,
        origin="trained by training/ct_clip.py on procedural phantoms of this repository and their reports",
        licence="Apache-2.0",
        labels=CT_CLIP_LABELS,
        architecture=model.architecture,
        preprocessing=plan.preprocessing,
        thresholds=thresholds,
        vocabulary=vocabulary,
    )


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    plan = CTCLIPPlan()
    parser = make_parser(
        __doc__, plan, ("seed", "training_studies", "validation_studies", "held_out_studies"), "ct_clip"
    )
    parser.add_argument(
        "--continuous-steps", type=int, default=plan.continuous_steps, help="updates without the code book"
    )
    parser.add_argument(
        "--quantised-steps", type=int, default=plan.quantised_steps, help="updates through the code book, which follow"
    )
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
