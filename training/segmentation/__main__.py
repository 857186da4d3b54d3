"""`python -m training.segmentation`: train the demo nnU-Net on phantoms, measure it on others and publish it.

Seeded and resumable: studies and checkpoints stay in the state folder, and the same command goes on from there.
`--evaluate-only` keeps the published weights, measures them again and writes their card anew.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import torch
from torch import nn

from model_weights.catalogue import ModelEntry, load_catalogue
from model_weights.loading import load_tensors
from model_weights.publishing import make_catalogue_path
from shared.settings import WeightsProfile
from shared.stages import StageName
from training.command import make_parser, say
from training.segmentation.card import Facts, read_duration, tell_duration, write_card
from training.segmentation.evaluation import OrganReport, RealFinding, measure_real, measure_studies
from training.segmentation.examples import LabelledStudy, Recipe, iterate_examples, iterate_studies
from training.segmentation.fitting import fit
from training.segmentation.labels import OUTPUTS
from training.segmentation.plan import SegmentationPlan
from workers.model_host.allocation import keep_freed_memory
from workers.segmentation.configuration import Architecture
from workers.segmentation.conversion import Description, publish_network
from workers.segmentation.network import collect_tensors, make_network
from workers.segmentation.predictor import Predictor

VERSION = "1"

REAL_STUDY = Path(__file__).parents[2] / "deploy" / "demo" / "chest_covid_small.zip"
"""The chest CT that comes with the demonstration; it takes no part in the training."""


class Measuring(NamedTuple):
    """What the network is measured on: phantoms that it has not seen, and the archive of a real CT."""

    held_out: Iterator[LabelledStudy]
    real: Path


def main(arguments: Sequence[str] | None = None) -> None:
    """Train, measure and publish."""
    options = _parse(arguments)
    torch.set_num_threads(options.threads)
    keep_freed_memory()
    plan = SegmentationPlan(
        seed=options.seed, training_studies=options.training_studies, held_out_studies=options.held_out_studies
    )
    make = evaluate_again if options.evaluate_only else train
    entry = make(plan, options.state, options.catalogue, processes=options.processes)
    say(f"published {entry.name} {entry.version}, digest {entry.digest}")


def train(
    plan: SegmentationPlan, state: Path, catalogue: Path, *, processes: int, real_study: Path = REAL_STUDY
) -> ModelEntry:
    """Fit, measure and publish, on seeds of its own each."""
    state.mkdir(parents=True, exist_ok=True)
    recipe = Recipe(plan.training_settings, plan.prevalence)
    examples = iterate_examples(plan.training_seeds, recipe, state / "studies", processes)
    fitted = fit(plan, examples, state, say)
    # As the stage builds it: the network of the training computes some layers another way.
    network = make_network(plan.architecture, OUTPUTS, collect_tensors(fitted.network))
    took = tell_duration(fitted.seconds, fitted.updates_on_others)
    return _measure_and_publish(
        network, plan, Measuring(_iterate_held_out(plan, state, processes), real_study), catalogue, took
    )


def evaluate_again(
    plan: SegmentationPlan, state: Path, catalogue: Path, *, processes: int, real_study: Path = REAL_STUDY
) -> ModelEntry:
    """Measure the published weights, and publish them with a new card. The plan must be theirs."""
    entry = _find_published(catalogue)
    took = read_duration(Path(catalogue.parent, str(entry.card)).read_text(encoding="utf-8"))
    tensors = load_tensors(entry.get_file("weights"))
    network = make_network(Architecture.from_table(entry.architecture), OUTPUTS, tensors)
    return _measure_and_publish(
        network, plan, Measuring(_iterate_held_out(plan, state, processes), real_study), catalogue, took
    )


def _measure_and_publish(
    network: nn.Module, plan: SegmentationPlan, studies: Measuring, catalogue: Path, took: str
) -> ModelEntry:
    with TemporaryDirectory(prefix="ctclip-") as folder:
        draft = publish_network(
            network, _describe(plan), WeightsProfile.DEMO, catalogue=make_catalogue_path(Path(folder))
        )
        predictor = Predictor(draft, torch.device("cpu"))
        organs, real = measure_studies(predictor, studies.held_out), measure_real(predictor, studies.real)
        _tell_measured(organs, real)
        card = Path(folder, "card.md")
        card.write_text(write_card(plan, _list_facts(network, plan, took), organs, real), encoding="utf-8")
        return publish_network(network, _describe(plan), WeightsProfile.DEMO, card=card, catalogue=catalogue)


def _find_published(catalogue: Path) -> ModelEntry:
    for entry in load_catalogue(catalogue):
        if entry.stage is StageName.SEGMENTATION and entry.weights_profile is WeightsProfile.DEMO:
            return entry
    raise LookupError("the catalogue has no demo segmentation: train one first")


def _describe(plan: SegmentationPlan) -> Description:
    return Description(
        name="segmentation-demo",
        version=VERSION,
        origin="trained by training/segmentation on procedural phantoms of this repository",
        licence="Apache-2.0",
        architecture=plan.architecture,
        preprocessing=plan.preprocessing,
    )


def _list_facts(network: nn.Module, plan: SegmentationPlan, took: str) -> Facts:
    command = f"python -m training.segmentation --seed {plan.seed} --training-studies {plan.training_studies}"
    return Facts(command, took, sum(parameter.numel() for parameter in network.parameters()))


def _iterate_held_out(plan: SegmentationPlan, state: Path, processes: int) -> Iterator[LabelledStudy]:
    recipe = Recipe(plan.held_out_settings, plan.prevalence)
    for study in iterate_studies(plan.held_out_seeds, recipe, state / "studies", processes):
        say(f"measuring phantom {study.seed}")
        yield study


def _tell_measured(organs: Sequence[OrganReport], real: RealFinding) -> None:
    for organ in organs:
        say(f"Dice {organ.mean:.3f} of {organ.name} in {organ.studies} held-out phantoms")
    say(f"Dice {real.dice:.3f} of the lungs of the real CT with those by density")


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    plan = SegmentationPlan()
    parser = make_parser(__doc__, plan, ("seed", "training_studies", "held_out_studies"), "segmentation")
    parser.add_argument("--evaluate-only", action="store_true", help="keep the published weights")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
