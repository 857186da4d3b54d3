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
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch

from model_weights.catalogue import CATALOGUE_FILE, ModelEntry, load_catalogue
from model_weights.publishing import publish_entry
from phantom.study import FINDINGS, PhantomSettings
from shared.settings import WeightsProfile
from shared.stages import StageName
from training.examples import Example, Task, iterate_examples, make_example
from training.fusion_booster import FittedBooster, drop_models, fit_booster, list_models
from training.fusion_card import describe, write_card
from training.fusion_evaluation import Case, Report, evaluate
from training.fusion_features import choose_features
from training.fusion_plan import FusionPlan, find_policy
from workers.fusion.aggregates import compute_vector
from workers.mednext.configuration import Preprocessing
from workers.mednext.features import name_features
from workers.mednext.predictor import Predictor

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
    torch.set_num_threads(options.threads)
    plan = FusionPlan(
        training_studies=options.training_studies,
        held_out_studies=options.held_out_studies,
        shifted_studies=options.shifted_studies,
    )
    mednext = find_mednext(options.catalogue)
    studies = ask_mednext(plan, mednext, options.state, processes=options.processes)
    trained = train(plan, mednext, studies)
    entry = publish(plan, mednext, trained, catalogue=options.catalogue)
    sys.stdout.write(write_card(plan, mednext, trained.fitted.booster, trained.reports, studies.held_out))
    sys.stdout.write(f"\npublished {entry.digest}\n")


def find_mednext(catalogue: Path) -> ModelEntry:
    """Return the demo MedNeXt of a catalogue. Raises LookupError when it has none."""
    entries = [entry for entry in load_catalogue(catalogue) if entry.weights_profile is WeightsProfile.DEMO]
    for entry in entries:
        if entry.stage is StageName.MEDNEXT:
            return entry
    raise LookupError("the catalogue has no demo MedNeXt: run `python -m training.mednext` first")


def ask_mednext(plan: FusionPlan, mednext: ModelEntry, state: Path, *, processes: int) -> Studies:
    """Let the installed MedNeXt answer every study of the plan. Prepared studies are kept in the state folder."""
    predictor = Predictor(mednext, torch.device("cpu"))
    seeds = [*plan.training_seeds, *plan.held_out_seeds]
    tasks = [Task(seed, plan.prevalence) for seed in seeds]
    examples = iterate_examples(tasks, predictor.preprocessing, state / "examples", processes)
    cases = [_answer(predictor, mednext, example) for example in examples]
    shifted = _iterate_shifted(plan, predictor.preprocessing, processes)
    return Studies(
        training=cases[: plan.training_studies],
        held_out=cases[plan.training_studies :],
        shifted=[_answer(predictor, mednext, example) for example in shifted],
    )


def train(plan: FusionPlan, mednext: ModelEntry, studies: Studies) -> Trained:
    """Fit on the training studies and measure on the others, for every subset of the models that answered."""
    generator = np.random.default_rng(plan.booster.seed)
    copies = [case for case in studies.training for _ in range(plan.copies)]
    vectors = [compute_vector(_drop(case, plan, generator)) for case in copies]
    used = choose_features(studies.training, plan.least_own_auc)
    fitted = fit_booster(vectors, [int(case.is_pathological) for case in copies], plan.booster, used=used)
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
        text = write_card(plan, mednext, trained.fitted.booster, trained.reports, trained.held_out)
        card.write_text(text, encoding="utf-8")
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


def _answer(predictor: Predictor, entry: ModelEntry, example: Example) -> Case:
    volume = torch.from_numpy(example.voxels).float()[None, None]  # (1, 1, x, y, z)
    probabilities = predictor.predict(volume)[0].tolist()
    truth = tuple(name for name, is_present in zip(FINDINGS, example.has_finding, strict=True) if is_present)
    return Case(example.seed, name_features(entry.labels, probabilities), truth)


def _iterate_shifted(plan: FusionPlan, preprocessing: Preprocessing, processes: int) -> Iterator[Example]:
    make = partial(make_example, preprocessing=preprocessing, settings=PhantomSettings.shifted())
    tasks = [Task(seed, plan.prevalence) for seed in plan.shifted_seeds]
    with ProcessPoolExecutor(processes, get_context("spawn")) as pool:
        yield from pool.map(make, tasks, chunksize=_CHUNK)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m training.fusion", description=__doc__)
    parser.add_argument("--training-studies", type=int, default=FusionPlan.training_studies)
    parser.add_argument("--held-out-studies", type=int, default=FusionPlan.held_out_studies)
    parser.add_argument("--shifted-studies", type=int, default=FusionPlan.shifted_studies)
    parser.add_argument("--state", type=Path, default=Path(".ctclip/training/fusion"), help="prepared studies")
    parser.add_argument("--processes", type=int, default=2, help="processes that make phantoms")
    parser.add_argument("--threads", type=int, default=1, help="threads of the network")
    parser.add_argument("--catalogue", type=Path, default=CATALOGUE_FILE, help="catalogue to read and to publish into")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
