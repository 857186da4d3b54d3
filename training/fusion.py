"""`python -m training.fusion`: train the demo fusion on phantoms that the installed MedNeXt has never seen.

The real code answers (preprocessing, network, aggregates); every other model is missing, and whole models are dropped
at random so that a study without any answer stays calibrated. Writes LightGBM text, its description and a model card
into the catalogue.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterable, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch

from model_weights.catalogue import CATALOGUE_FILE, ModelEntry, load_catalogue
from model_weights.publishing import publish_entry
from phantom.study import PhantomSettings
from shared.settings import WeightsProfile
from shared.stages import StageName
from training.fusion_booster import FittedBooster, drop_models, fit_booster, list_models
from training.fusion_card import describe, write_card
from training.fusion_evaluation import Case, Report, evaluate
from training.fusion_plan import FusionPlan, find_policy
from training.phantoms import make_case
from workers.fusion.aggregates import compute_vector
from workers.mednext.features import name_features
from workers.mednext.predictor import Predictor
from workers.mednext.preprocess import prepare

VERSION = "1"


_CHUNK = 8


@dataclass(frozen=True)
class Studies:
    """Answered studies by what they are for."""

    training: Sequence[Case]
    held_out: Sequence[Case]
    shifted: Sequence[Case]


@dataclass(frozen=True)
class Trained:
    """A fitted booster with what was measured of it, one report per subset of models."""

    fitted: FittedBooster
    reports: Sequence[Report]
    held_out: Sequence[Case]


def main(arguments: Sequence[str] | None = None) -> None:
    """Train, measure and publish."""
    options = _parse(arguments)
    plan = FusionPlan(
        training_studies=options.training_studies,
        held_out_studies=options.held_out_studies,
        shifted_studies=options.shifted_studies,
    )
    mednext = find_mednext(options.catalogue)
    with ProcessPoolExecutor(options.processes, initializer=_start_process) as pool:
        studies = ask_all(pool, mednext, plan)
    trained = train(plan, mednext, studies)
    entry = publish(plan, mednext, trained, catalogue=options.catalogue)
    sys.stdout.write(write_card(plan, mednext, trained.reports, studies.held_out))
    sys.stdout.write(f"\npublished {entry.digest}\n")


def ask_all(pool: Executor, mednext: ModelEntry, plan: FusionPlan) -> Studies:
    """Make every study of the plan and let the real MedNeXt answer."""
    ordinary = partial(ask_mednext, mednext, PhantomSettings.coarse())
    other = partial(ask_mednext, mednext, PhantomSettings.shifted())
    return Studies(
        training=tuple(pool.map(ordinary, plan.training_seeds, chunksize=_CHUNK)),
        held_out=tuple(pool.map(ordinary, plan.held_out_seeds, chunksize=_CHUNK)),
        shifted=tuple(pool.map(other, plan.shifted_seeds, chunksize=_CHUNK)),
    )


def find_mednext(catalogue: Path) -> ModelEntry:
    """Return the demo MedNeXt of a catalogue. Raises LookupError when it has none."""
    entries = [entry for entry in load_catalogue(catalogue) if entry.weights_profile is WeightsProfile.DEMO]
    for entry in entries:
        if entry.stage is StageName.MEDNEXT:
            return entry
    raise LookupError("the catalogue has no demo MedNeXt: run `python -m training.mednext` first")


def ask_mednext(entry: ModelEntry, settings: PhantomSettings, seed: int) -> Case:
    """Make the study of a seed and let the real MedNeXt answer."""
    study = make_case(seed, settings)
    predictor = _get_predictor(entry)
    probabilities = predictor.predict(prepare(study.volume, predictor.preprocessing))[0].tolist()
    return Case(seed, name_features(entry.labels, probabilities), study.findings)


def train(plan: FusionPlan, mednext: ModelEntry, studies: Studies) -> Trained:
    """Fit on the training studies and measure on the others, for every subset of the models that answered."""
    generator = np.random.default_rng(plan.booster.seed)
    copies = [case for case in studies.training for _ in range(plan.copies)]
    vectors = [compute_vector(_drop(case, plan, generator)) for case in copies]
    fitted = fit_booster(vectors, [int(case.is_pathological) for case in copies], plan.booster)
    return Trained(fitted, _measure(plan, fitted, mednext, studies), studies.held_out)


def _measure(plan: FusionPlan, fitted: FittedBooster, mednext: ModelEntry, studies: Studies) -> list[Report]:
    measure = partial(
        evaluate,
        fitted.booster,
        policy=find_policy(),
        thresholds={StageName.MEDNEXT: mednext.thresholds},
        seed=plan.booster.seed,
    )
    everything, *rest = list_subsets(studies.held_out)
    return [
        measure(studies.held_out, models=everything, scanner="as in training"),
        measure(studies.shifted, models=everything, scanner="shifted"),
        *(measure(studies.held_out, models=models, scanner="as in training") for models in rest),
    ]


def list_subsets(cases: Iterable[Case]) -> list[tuple[StageName, ...]]:
    """Return the subsets of models that the report speaks of: all that answered, and none."""
    present = {model for case in cases for model in list_models(case.features)}
    return [tuple(sorted(present)), ()]


def publish(plan: FusionPlan, mednext: ModelEntry, trained: Trained, *, catalogue: Path) -> ModelEntry:
    """Write booster, description and card, and the entry that pins them."""
    with tempfile.TemporaryDirectory() as folder:
        booster, description, card = (Path(folder) / name for name in ("booster.txt", "description.json", "card.md"))
        booster.write_text(trained.fitted.text, encoding="utf-8")
        told = describe(plan, mednext, trained.fitted.booster, trained.reports, trained.held_out)
        description.write_text(json.dumps(told, indent=1, allow_nan=False) + "\n", encoding="utf-8")
        card.write_text(write_card(plan, mednext, trained.reports, trained.held_out), encoding="utf-8")
        return publish_entry(
            name="fusion-demo",
            stage=StageName.FUSION,
            version=VERSION,
            weights_profile=WeightsProfile.DEMO,
            architecture={"kind": "lightgbm", "trees": plan.booster.trees, "leaves": plan.booster.leaves},
            preprocessing={"aggregates": "native"},
            labels=(),
            thresholds={},
            sources={"booster": booster, "description": description},
            origin="python -m training.fusion",
            licence="Apache-2.0",
            card=card,
            catalogue=catalogue,
        )


def _drop(case: Case, plan: FusionPlan, generator: np.random.Generator) -> dict[str, float]:
    return drop_models(case.features, list_models(case.features), rate=plan.dropout, generator=generator)


_predictors: dict[str, Predictor] = {}


def _get_predictor(entry: ModelEntry) -> Predictor:
    """Return the model of this process, loaded once."""
    if entry.digest not in _predictors:
        _predictors[entry.digest] = Predictor(entry, torch.device("cpu"))
    return _predictors[entry.digest]


def _start_process() -> None:
    torch.set_num_threads(1)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m training.fusion", description=__doc__)
    parser.add_argument("--training-studies", type=int, default=FusionPlan.training_studies)
    parser.add_argument("--held-out-studies", type=int, default=FusionPlan.held_out_studies)
    parser.add_argument("--shifted-studies", type=int, default=FusionPlan.shifted_studies)
    parser.add_argument("--processes", type=int, default=2, help="studies that are made and read at once")
    parser.add_argument("--catalogue", type=Path, default=CATALOGUE_FILE, help="catalogue to read and to publish into")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
