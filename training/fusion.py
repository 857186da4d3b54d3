"""`python -m training.fusion`: train the demo fusion on phantoms that the installed demo models have never seen.

Each model answers by the code that serves it; models that are not installed are missing, and whole models are dropped
at random so that a study with any of the answers, or none, stays calibrated. Writes LightGBM text, its description and
a model card into the catalogue. Resumable: answers stay in the state folder.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from model_weights.catalogue import CATALOGUE_FILE, ModelEntry
from model_weights.publishing import publish_entry
from shared.settings import WeightsProfile
from shared.stages import StageName
from training.evaluation.answers import ask_models
from training.evaluation.case import Case
from training.evaluation.distribution import find_distribution
from training.evaluation.reports import Comparison, Report, compare, evaluate
from training.evaluation.weights import WeightSet, find_policy
from training.fusion_booster import FittedBooster, drop_models, fit_booster
from training.fusion_calibration import fit_calibration
from training.fusion_card import Trained, describe, write_card
from training.fusion_evidence import choose_evidence
from training.fusion_features import choose_features
from training.fusion_plan import FusionPlan
from workers.drift.reference import ScannedFeatures, make_reference
from workers.fusion.aggregates import compute_vector
from workers.fusion.booster import FusionBooster

VERSION = "1"

Subset = tuple[StageName, ...]
"""The models whose answers are there."""


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
    models = WeightSet(options.catalogue).models
    trained = train(plan, models, ask(plan, options.catalogue, options.state / "answers", options.processes))
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
    calibration = fit_calibration(
        studies.training, stages, lambda cases: _fit(plan, stages, cases).booster, folds=plan.folds
    )
    evidence = choose_evidence(
        studies.training, least_own_auc=plan.least_own_auc, least_specificity=plan.least_specificity
    )
    fitted = _fit(plan, stages, studies.training).complete(calibration, evidence)
    reports = _measure(plan, fitted.booster, models, studies)
    comparisons = _compare_with_all(plan, reports, studies.held_out)
    reference = make_reference(ScannedFeatures(case.features, case.scan) for case in studies.training)
    return Trained(plan, models, fitted, reports, comparisons, studies.held_out, reference)


def _fit(plan: FusionPlan, models: Sequence[StageName], cases: Sequence[Case]) -> FittedBooster:
    copies = list(_iterate_copies(plan, models, cases))
    return fit_booster(
        [compute_vector(copy.features) for copy in copies],
        [int(copy.is_pathological) for copy in copies],
        plan.booster,
        used=choose_features(cases, plan.least_own_auc),
    )


def list_subsets(models: Sequence[StageName]) -> list[Subset]:
    """Return the subsets that are reported: all models, each one alone, each one left out, and none."""
    alone = [(model,) for model in models]
    left_out = [tuple(other for other in models if other != model) for model in models]
    return list(dict.fromkeys([tuple(models), *alone, *left_out, ()]))


def publish(trained: Trained, *, catalogue: Path) -> ModelEntry:
    """Write booster, description, reference of the features and card, and the entry that pins them."""
    settings = trained.plan.booster
    with tempfile.TemporaryDirectory() as folder:
        names = ("booster.txt", "description.json", "reference.json", "card.md")
        booster, description, reference, card = (Path(folder) / name for name in names)
        reference.write_text(json.dumps(trained.reference.to_document()), encoding="utf-8")
        booster.write_text(trained.fitted.text, encoding="utf-8")
        told = json.dumps(describe(trained), indent=1, allow_nan=False)
        description.write_text(f"{told}\n", encoding="utf-8")
        card.write_text(write_card(trained), encoding="utf-8")
        return publish_entry(
            name="fusion-demo",
            stage=StageName.FUSION,
            version=VERSION,
            weights_profile=WeightsProfile.DEMO,
            architecture={"kind": "lightgbm", "trees": settings.trees, "leaves": settings.leaves},
            preprocessing={"aggregates": "native"},
            labels=(),
            thresholds={},
            sources={"booster": booster, "description": description, "reference": reference},
            origin="python -m training.fusion",
            licence="Apache-2.0",
            card=card,
            catalogue=catalogue,
        )


def _iterate_copies(plan: FusionPlan, models: Sequence[StageName], cases: Sequence[Case]) -> Iterator[Case]:
    """Yield each case whole, then again without some of the models."""
    generator = np.random.default_rng(plan.booster.seed)
    for case in cases:
        yield case
        for _ in range(plan.copies - 1):
            features = drop_models(case.features, models, rate=plan.dropout, generator=generator)
            yield replace(case, features=features)


def _measure(plan: FusionPlan, booster: FusionBooster, models: Sequence[ModelEntry], studies: Studies) -> list[Report]:
    """Return the reports of all models, of all models on another scanner, and of every other subset."""
    measure = partial(
        evaluate,
        booster,
        policy=find_policy(),
        thresholds=booster.thresholds or {},
        seed=plan.booster.seed,
    )
    everything, *rest = list_subsets([entry.stage for entry in models])
    return [
        measure(studies.held_out, models=everything, scanner="as in training"),
        measure(studies.shifted, models=everything, scanner="shifted"),
        *(measure(studies.held_out, models=models, scanner="as in training") for models in rest),
    ]


def _compare_with_all(plan: FusionPlan, reports: Sequence[Report], held_out: Sequence[Case]) -> list[Comparison]:
    """Return what all models are worth beside each smaller subset that answers, the best of them first."""
    everything, _, *rest = reports
    others = sorted((report for report in rest if report.models), key=lambda report: -report.auc)
    return [compare(held_out, everything, other, seed=plan.booster.seed) for other in others]


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
