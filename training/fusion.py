"""`python -m training.fusion`: train the demo fusion on phantoms that the installed demo models have never seen.

Each model answers by the code that serves it; models that are not installed are missing, and whole models are dropped
at random so that a study with any of the answers, or none, stays calibrated. Writes LightGBM text, its description and
a model card into the catalogue. Resumable: answers stay in the state folder.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from model_weights.catalogue import CATALOGUE_FILE, ModelEntry
from shared.settings import WeightsProfile
from shared.stages import StageName
from training.evaluation.answers import ask_models
from training.evaluation.case import Case
from training.evaluation.distribution import find_distribution
from training.evaluation.weights import WeightSet
from training.fusion_card import Trained, describe, write_card
from training.fusion_fitting import compare_with_all, fit_fusion, measure_subset, measure_subsets
from training.fusion_plan import FusionPlan
from training.fusion_publishing import FusionTexts, Origin, publish_fusion
from workers.drift.reference import ScannedFeatures, make_reference


@dataclass(frozen=True)
class Studies:
    """Answered studies by what they are for."""

    training: Sequence[Case]
    held_out: Sequence[Case]
    shifted: Sequence[Case]


def main(arguments: Sequence[str] | None = None) -> None:
    """Train, measure and publish."""
    options = _parse(arguments)
    plan = FusionPlan(
        training_studies=options.training_studies,
        masked_studies=options.masked_studies,
        held_out_studies=options.held_out_studies,
        shifted_studies=options.shifted_studies,
    )
    weights = WeightSet(options.catalogue)
    studies = ask(plan, options.catalogue, options.state / "answers", options.processes)
    trained = replace(train(plan, weights.models, studies), segmentation=weights.find(StageName.SEGMENTATION))
    entry = publish(trained, catalogue=options.catalogue)
    sys.stdout.write(f"{write_card(trained)}\npublished {entry.digest}\n")


def ask(plan: FusionPlan, catalogue: Path, folder: Path, processes: int) -> Studies:
    """Let the demo models of a catalogue answer every study of the plan; answers are kept in the folder."""
    weights, trained = WeightSet(catalogue), find_distribution("train")
    ask_about = partial(ask_models, folder=folder, processes=processes)
    return Studies(
        training=[
            *ask_about(plan.masked_seeds, trained, weights),
            *ask_about(plan.unmasked_seeds, trained, replace(weights, has_masks=False)),
        ],
        held_out=ask_about(plan.held_out_seeds, find_distribution("heldout"), weights),
        shifted=ask_about(plan.shifted_seeds, find_distribution("shifted"), weights),
    )


def train(plan: FusionPlan, models: Sequence[ModelEntry], studies: Studies) -> Trained:
    """Fit on the training studies and measure on the others, for every subset of the models that answered."""
    stages = [entry.stage for entry in models]
    fitted = fit_fusion(plan, stages, studies.training)
    everything, *rest = measure_subsets(plan, fitted.booster, stages, studies.held_out, "as in training")
    shifted = measure_subset(plan, fitted.booster, stages, studies.shifted, "shifted")
    reports = [everything, shifted, *rest]
    comparisons = compare_with_all(studies.held_out, everything, rest, seed=plan.booster.seed)
    reference = make_reference(ScannedFeatures(case.features, case.scan) for case in studies.training)
    return Trained(plan, models, fitted, reports, comparisons, studies.held_out, reference)


def publish(trained: Trained, *, catalogue: Path) -> ModelEntry:
    """Write booster, description, reference of the features and card, and the entry that pins them."""
    origin = Origin("fusion-demo", WeightsProfile.DEMO, "python -m training.fusion", "Apache-2.0")
    texts = FusionTexts(trained.fitted.text, describe(trained), trained.reference.to_document(), write_card(trained))
    return publish_fusion(texts, trained.plan.booster, origin, catalogue)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m training.fusion", description=__doc__)
    parser.add_argument("--training-studies", type=int, default=FusionPlan.training_studies)
    parser.add_argument("--masked-studies", type=int, default=FusionPlan.masked_studies)
    parser.add_argument("--held-out-studies", type=int, default=FusionPlan.held_out_studies)
    parser.add_argument("--shifted-studies", type=int, default=FusionPlan.shifted_studies)
    parser.add_argument(
        "--state", type=Path, default=Path(".ctclip/training/fusion"), help="answers of the models, by digest"
    )
    parser.add_argument("--processes", type=int, default=2, help="processes that make phantoms and ask the models")
    parser.add_argument("--catalogue", type=Path, default=CATALOGUE_FILE, help="catalogue to read and to publish into")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
