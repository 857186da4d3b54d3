"""`python -m training.fvlm`: train the demo fVLM on phantoms and their organs, measure it and publish it.

Seeded and resumable: examples and checkpoints stay in the state folder, and the same command goes on from there.
"""

from __future__ import annotations

import argparse
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path

import torch

from model_weights.catalogue import ModelEntry
from shared.settings import WeightsProfile
from training.command import make_parser, say
from training.ct_clip_vocabulary import make_vocabulary
from training.examples import Task
from training.fvlm.batches import prepare_example
from training.fvlm.card import Measured, Run, write_card
from training.fvlm.evaluation import MaskKind, Reader, answer, choose_thresholds, describe_untaught, report_items
from training.fvlm.examples import Example, iterate_examples
from training.fvlm.fitting import Fitting
from training.fvlm.plan import FVLMPlan
from training.fvlm.predicted import make_segment
from training.supervised.measures import compute_macro_auc
from workers.fvlm.conversion import Configuration, publish_model
from workers.fvlm.model import FVLM

VERSION = "1"


def main(arguments: Sequence[str] | None = None) -> None:
    """Train, measure and publish."""
    options = _parse(arguments)
    torch.set_num_threads(options.threads)
    plan = FVLMPlan()
    narrow, wide = plan.crop_stages
    plan = replace(
        plan,
        seed=options.seed,
        training_studies=options.training_studies,
        validation_studies=options.validation_studies,
        held_out_studies=options.held_out_studies,
        predicted_studies=options.predicted_studies,
        crop_stages=(replace(narrow, steps=options.crop_steps), replace(wide, steps=options.wide_crop_steps)),
        whole_steps=options.whole_steps,
    )
    entry = train(plan, options.state, options.catalogue, processes=options.processes)
    say(f"published {entry.name} {entry.version}, digest {entry.digest}")


def train(plan: FVLMPlan, state: Path, catalogue: Path, *, processes: int) -> ModelEntry:
    """Fit, choose thresholds, measure and publish; each part on seeds of its own."""
    state.mkdir(parents=True, exist_ok=True)
    examples = _iterate_all(plan, state, processes)
    fitting = Fitting(plan, state, say)
    learnt_from = islice(examples, plan.training_studies)
    model = fitting.run(prepare_example(example, plan.preprocessing) for example in learnt_from)
    deque(learnt_from, maxlen=0)  # what a run that goes on has learnt from before is not for measuring
    reader = Reader(model, plan.preprocessing)
    validation = answer(reader, islice(examples, plan.validation_studies), plan.preprocessing, [MaskKind.SPOILT])
    thresholds = choose_thresholds(validation[MaskKind.SPOILT], plan.least_specificity)
    measured = _measure(reader, plan, examples, thresholds, catalogue)
    card = state / "card.md"
    card.write_text(write_card(plan, _describe_run(plan, model, fitting.seconds), measured), encoding="utf-8")
    vocabulary = state / "vocabulary.txt"
    vocabulary.write_text(make_vocabulary(), encoding="utf-8")
    return publish_model(model, _configure(plan, model, thresholds, vocabulary), WeightsProfile.DEMO, catalogue, card)


def _measure(
    reader: Reader, plan: FVLMPlan, examples: Iterator[Example], thresholds: Mapping[str, float], catalogue: Path
) -> Measured:
    held_out = list(islice(examples, plan.held_out_studies))
    answers = dict(answer(reader, held_out, plan.preprocessing, (MaskKind.TRUE, MaskKind.SPOILT)))
    segment = make_segment(catalogue)
    if segment is not None and plan.predicted_studies:
        some = held_out[: plan.predicted_studies]
        answers |= answer(reader, some, plan.preprocessing, (MaskKind.PREDICTED,), segment)
    reports = {kind: report_items(each, thresholds, plan.seed) for kind, each in answers.items()}
    for kind, each in reports.items():
        macro = compute_macro_auc(each)
        say(f"held-out macro AUC with {kind}: {'none' if macro is None else f'{macro:.3f}'}")
    return Measured(reports, describe_untaught(answers[MaskKind.TRUE]))


def _iterate_all(plan: FVLMPlan, state: Path, processes: int) -> Iterator[Example]:
    """Yield training, validation and held-out examples in this order, made ahead while the model learns."""
    sets = (
        (plan.training_seeds, plan.training_prevalence, True),
        (plan.validation_seeds, plan.held_out_prevalence, False),
        (plan.held_out_seeds, plan.held_out_prevalence, False),
    )
    tasks = [Task(seed, prevalence, located) for seeds, prevalence, located in sets for seed in seeds]
    return iterate_examples(tasks, state / "examples", processes)


def _describe_run(plan: FVLMPlan, model: FVLM, seconds: float) -> Run:
    command = f"python -m training.fvlm --seed {plan.seed} --training-studies {plan.training_studies}"
    narrow, wide = plan.crop_stages
    command += f" --crop-steps {narrow.steps} --wide-crop-steps {wide.steps} --whole-steps {plan.whole_steps}"
    if plan.predicted_studies:
        command += f" --predicted-studies {plan.predicted_studies}"
    sizes = [sum(each.numel() for each in side.parameters()) for side in (model.image, model.text)]
    return Run(command, seconds, sizes[0], sizes[1])


def _configure(plan: FVLMPlan, model: FVLM, thresholds: Mapping[str, float], vocabulary: Path) -> Configuration:
    return Configuration(
        name="fvlm-demo",
        version=VERSION,
        origin="trained by training/fvlm on procedural phantoms of this repository and their organs",
        licence="Apache-2.0",
        architecture=model.architecture,
        preprocessing=plan.preprocessing,
        thresholds=thresholds,
        vocabulary=vocabulary,
    )


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    plan = FVLMPlan()
    narrow, wide = plan.crop_stages
    parser = make_parser(__doc__, plan, ("seed", "training_studies", "validation_studies", "held_out_studies"), "fvlm")
    parser.add_argument(
        "--predicted-studies",
        type=int,
        default=plan.predicted_studies,
        help="held-out studies that are read through the demo segmenter's masks too, where the catalogue has one",
    )
    parser.add_argument("--crop-steps", type=int, default=narrow.steps, help="updates on small crops, which come first")
    parser.add_argument("--wide-crop-steps", type=int, default=wide.steps, help="updates on larger crops")
    parser.add_argument("--whole-steps", type=int, default=plan.whole_steps, help="updates of all but the encoder")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
