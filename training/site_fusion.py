"""`python -m training.site_fusion`: train a fusion for imported weights on studies of your own.

    python -m training.site_fusion studies.csv --weights weights

Published models come without a fusion, and that of the demo was fitted to the demo's models: until this has run, no
job with the profile `full` has a result. The table is that of `ctclip evaluate`, with columns `patient` and `split` as
for `training.supervised`: lines for training and validation are fitted to, those for testing only measured on. Answers
stay in the state folder, so that a run that was cut off goes on, and a model that was imported again is asked alone.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from model_weights.catalogue import ModelEntry
from shared.errors import Defect
from shared.settings import WeightsProfile
from shared.stages import StageName
from training.command import say
from training.evaluation.case import Case, LeftOut
from training.evaluation.reports import list_truth
from training.evaluation.studies import TRUTH_COLUMNS, ask_about_studies
from training.evaluation.weights import WeightSet, find_weights
from training.fusion_fitting import compare_with_all, fit_fusion, measure_subsets
from training.fusion_plan import FusionPlan
from training.fusion_publishing import FusionTexts, Origin, publish_fusion
from training.site_fusion_card import SiteFusion, describe, write_card
from training.supervised.table import Split, read_table
from workers.drift.reference import ScannedFeatures, make_reference

NAME = "fusion-site"
COMMAND = "python -m training.site_fusion"

PLAN = FusionPlan(least_told=10)
"""As for the demo, but few studies of a table tell of each finding."""


class Fewest(NamedTuple):
    """Studies, and of them patients with and without pathology each, that something asks for at least.

    Fewer give leaves of a handful of studies, parts of the calibration that show one kind alone, and figures by chance.
    """

    what: str
    studies: int
    patients_of_each: int


_TO_TRAIN, _TO_MEASURE = Fewest("to train on", 60, 20), Fewest("to measure on (split `test`)", 10, 5)


@dataclass(frozen=True)
class SiteStudies:
    """Answered studies of a table, to fit to and to measure on, with the patient of each; and lines left out.

    Where the table `has_patients` not, every study counts as one of its own.
    """

    training: Sequence[Case]
    patients: Sequence[str]
    held_out: Sequence[Case]
    held_out_patients: Sequence[str]
    left_out: Sequence[LeftOut]
    has_patients: bool


def main(arguments: Sequence[str] | None = None) -> int:
    """Train, measure and publish. Return 1 where that cannot be."""
    options = _parse(arguments)
    try:
        weights = find_full(options.weights)
        studies = ask(options.table, options.root, weights, options.state / "answers", processes=options.processes)
        trained = train(PLAN, weights.models, studies, weights.find(StageName.SEGMENTATION))
        entry = publish(trained, options.licence, weights.catalogue)
    except Defect as defect:
        say(f"Cannot train a fusion: {defect}")
        return 1
    except (OSError, BrokenProcessPool) as error:
        say(f"Cannot train a fusion: {error}. Try --processes 1, or another folder as --state; answers so far are kept")
        return 1
    sys.stdout.write(f"{write_card(trained)}\npublished {entry.name}, digest {entry.digest}\n")
    return 0


def find_full(folder: Path) -> WeightSet:
    """Return the imported weights of a folder. Raises Defect where they are none, or no model of them can be asked."""
    weights = find_weights(folder)
    if weights.profile is not WeightsProfile.FULL:
        raise Defect(f"the weights are of the profile {weights.profile}; name a folder of `ctclip models convert`")
    try:
        _ = weights.models
    except LookupError as error:
        raise Defect(str(error)) from error
    for entry in weights.without_masks:
        say(f"{entry.name} is not asked: it reads masks, and no segmentation is imported")
    return weights


def ask(table: Path, root: Path | None, weights: WeightSet, folder: Path, *, processes: int) -> SiteStudies:
    """Let every model answer the studies of the table. Raises Defect where it cannot be read or names a study twice."""
    read = read_table(table, TRUTH_COLUMNS, root=root)
    rows = {row.line: row for row in read.rows}
    cases, left_out = ask_about_studies(table, root, weights, folder, processes=processes)
    refuse_repeated(cases)
    held_out = [case for case in cases if rows[case.number].split is Split.HELD_OUT]
    training = [case for case in cases if rows[case.number].split is not Split.HELD_OUT]
    return SiteStudies(
        training=training,
        patients=[rows[case.number].group for case in training],
        held_out=held_out,
        held_out_patients=[rows[case.number].group for case in held_out],
        left_out=left_out,
        has_patients=read.has_patients,
    )


def refuse_repeated(cases: Sequence[Case]) -> None:
    """Raise Defect where two lines are the same study: fitted to and measured on, it would flatter every figure."""
    lines: dict[str | None, int] = {}
    for case in cases:
        first = lines.setdefault(case.digest, case.number)
        if case.digest is not None and first != case.number:
            raise Defect(f"lines {first} and {case.number} of the table are the same study; keep one of them")


def train(
    plan: FusionPlan, models: Sequence[ModelEntry], studies: SiteStudies, segmentation: ModelEntry | None = None
) -> SiteFusion:
    """Fit and measure. Raises Defect where there are too few studies for either."""
    _require_enough(_TO_TRAIN, studies.training, studies.patients, studies.left_out)
    _require_enough(_TO_MEASURE, studies.held_out, studies.held_out_patients, studies.left_out)
    stages = [entry.stage for entry in models]
    fitted = fit_fusion(plan, stages, studies.training, studies.patients)
    everything, *rest = measure_subsets(plan, fitted.booster, stages, studies.held_out, "as they come")
    comparisons = compare_with_all(studies.held_out, everything, rest, seed=plan.booster.seed)
    reference = make_reference(ScannedFeatures(case.features, case.scan) for case in studies.training)
    return SiteFusion(
        plan=plan,
        models=models,
        segmentation=segmentation,
        fitted=fitted,
        reports=[everything, *rest],
        comparisons=comparisons,
        training=studies.training,
        patients=len(set(studies.patients)) if studies.has_patients else None,
        held_out=studies.held_out,
        left_out=studies.left_out,
        reference=reference,
    )


def publish(trained: SiteFusion, licence: str, catalogue: Path) -> ModelEntry:
    """Put the fusion into the catalogue of the weights that it was fitted to."""
    texts = FusionTexts(trained.fitted.text, describe(trained), trained.reference.to_document(), write_card(trained))
    return publish_fusion(texts, trained.plan.booster, Origin(NAME, WeightsProfile.FULL, COMMAND, licence), catalogue)


def _require_enough(
    fewest: Fewest, cases: Sequence[Case], patients: Sequence[str], left_out: Sequence[LeftOut]
) -> None:
    kinds = list(zip(list_truth(cases).tolist(), patients, strict=True))
    sick, sound = (len({patient for is_sick, patient in kinds if is_sick is kind}) for kind in (True, False))
    if len(cases) < fewest.studies or min(sick, sound) < fewest.patients_of_each:
        raise Defect(
            f"too few studies {fewest.what}: {len(cases)}, of {sick} patients with and {sound} without a pathology;"
            f" at least {fewest.studies} are needed, of {fewest.patients_of_each} patients of each kind"
            f" ({_tell_left_out(left_out)})"
        )


def _tell_left_out(left_out: Sequence[LeftOut]) -> str:
    if not left_out:
        return "no line was left out"
    first = left_out[0]
    return f"{len(left_out)} lines were left out, line {first.line} as {first.code}"


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog=COMMAND, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("table", type=Path, help="CSV of studies and what is true of them")
    parser.add_argument("--weights", type=Path, required=True, help="folder of imported weights, with its catalogue")
    parser.add_argument("--root", type=Path, help="folder that the paths of the table start from; default: its own")
    parser.add_argument(
        "--state", type=Path, default=Path(".ctclip/training/site_fusion"), help="answers of the models"
    )
    parser.add_argument("--processes", type=int, default=2, help="processes that read studies and ask the models")
    parser.add_argument("--licence", default="of the site", help="stands in the catalogue and in every result")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    raise SystemExit(main())
