"""`ctclip evaluate`: what installed weights are worth, on phantoms or on studies of your own."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, NoReturn

import numpy as np
import typer

from model_weights.policies import Policy, read_policy
from shared.errors import Defect
from training.evaluation.answers import ask_models
from training.evaluation.case import Case, LeftOut
from training.evaluation.distribution import find_distribution
from training.evaluation.document import Evaluation, make_document
from training.evaluation.html import write_page
from training.evaluation.measures import compare_areas
from training.evaluation.outcome import SEED, Outcome, measure
from training.evaluation.reports import Report, list_truth
from training.evaluation.studies import ask_about_studies
from training.evaluation.weights import Ensemble, WeightSet, find_policy

_SEEDS = re.compile(r"(\d{1,9}):(\d{1,9})", re.ASCII)


@dataclass(frozen=True)
class Source:
    """Where the studies come from, and how the models are asked about them."""

    phantoms: str | None
    seeds: range
    studies: Path | None
    labels: Path | None
    state: Path
    processes: int

    @property
    def words(self) -> str:
        """What stands above the figures."""
        if self.phantoms is not None:
            return f"phantoms {self.phantoms}, seeds {self.seeds.start}:{self.seeds.stop}"
        return "studies of a table"

    def ask(self, weights: WeightSet) -> tuple[list[Case], list[LeftOut]]:
        """Return the answered studies, and those that could not be read."""
        if self.phantoms is not None:
            drawn = find_distribution(self.phantoms)
            return ask_models(self.seeds, drawn, weights, self.state, processes=self.processes), []
        assert self.labels is not None
        folder = self.state / "studies"
        return ask_about_studies(self.labels, self.studies, weights, folder, processes=self.processes)


_Phantoms = Annotated[str | None, typer.Option(help="Distribution of phantoms: train, heldout, shifted, or a file.")]
_SeedRange = Annotated[str | None, typer.Option(metavar="A:B", help="Seeds of the phantoms, B itself left out.")]
_Studies = Annotated[
    Path | None, typer.Option(exists=True, file_okay=False, help="Folder that the paths of the table start from.")
]
_Labels = Annotated[
    Path | None, typer.Option(exists=True, dir_okay=False, help="CSV that says what is true of real studies.")
]
_Weights = Annotated[
    Path | None, typer.Option(exists=True, help="Catalogue, or folder with one; default: the demo weights.")
]
_Against = Annotated[
    Path | None, typer.Option(exists=True, help="Another catalogue, measured on the same studies, side by side.")
]
_PolicyFile = Annotated[
    Path | None, typer.Option("--policy", exists=True, dir_okay=False, help="Policy as TOML; default: the shipped one.")
]
_State = Annotated[Path, typer.Option(help="Where answers are kept; the same command goes on from there.")]
_Report = Annotated[Path | None, typer.Option(help="Folder of report.html and report.json; default: --state.")]
_Processes = Annotated[int, typer.Option(min=0, help="Processes that take studies and ask the models.")]
_AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


def command(
    *,
    phantoms: _Phantoms = None,
    seeds: _SeedRange = None,
    studies: _Studies = None,
    labels: _Labels = None,
    weights: _Weights = None,
    against: _Against = None,
    policy: _PolicyFile = None,
    state: _State = Path(".ctclip/evaluation"),
    report: _Report = None,
    processes: _Processes = 2,
    as_json: _AsJson = False,
) -> None:
    """Measure installed weights on phantoms (--phantoms, --seeds) or on your own studies (--labels, --studies).

    Exit status: 0 measured, 1 it could not be, 2 wrong usage.
    """
    _require_one_source(phantoms, seeds, studies, labels)
    source = Source(phantoms, _parse_seeds(seeds), studies, labels, state, processes)
    try:
        evaluation = run(source, weights, against, find_policy() if policy is None else read_policy(policy))
    except Defect as defect:
        typer.echo(f"Cannot evaluate: {defect}", err=True)
        raise typer.Exit(1) from defect
    _keep(evaluation, report or state)
    typer.echo(json.dumps(make_document(evaluation)) if as_json else _tell(evaluation, report or state))


def run(source: Source, path: Path | None, other_path: Path | None, policy: Policy) -> Evaluation:
    """Ask, measure and compare. Raises Defect when something cannot be read or measured."""
    ensemble = Ensemble.load(path)
    cases, left_out = source.ask(ensemble.weights)
    outcome = measure(ensemble, cases, policy)
    if other_path is None:
        return Evaluation(source.words, outcome, None, None, left_out)
    other_ensemble = Ensemble.load(other_path)
    other_cases, _ = source.ask(other_ensemble.weights)
    other = measure(other_ensemble, other_cases, policy)
    paired = compare_areas(list_truth(cases), _list_probabilities(outcome), _list_probabilities(other), SEED)
    return Evaluation(source.words, outcome, other, paired, left_out)


def _list_probabilities(outcome: Outcome) -> np.typing.NDArray[np.float64]:
    return np.array(outcome.whole.probabilities)


def _require_one_source(phantoms: str | None, seeds: str | None, studies: Path | None, labels: Path | None) -> None:
    if (phantoms is None) == (labels is None):
        _refuse("name either --phantoms with --seeds, or --labels", "--phantoms")
    if (phantoms is None) != (seeds is None):
        _refuse("--phantoms and --seeds go together", "--seeds")
    if studies is not None and labels is None:
        _refuse("a folder of studies needs the table of their labels", "--labels")


def _parse_seeds(text: str | None) -> range:
    if text is None:
        return range(0)
    match = _SEEDS.fullmatch(text)
    if match is None or int(match[1]) >= int(match[2]):
        _refuse(f"{text!r} is not A:B with A below B", "--seeds")
    return range(int(match[1]), int(match[2]))


def _refuse(message: str, option: str) -> NoReturn:
    raise typer.BadParameter(message, param_hint=option)


def _keep(evaluation: Evaluation, folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "report.json").write_text(json.dumps(make_document(evaluation), indent=1), encoding="utf-8")
        (folder / "report.html").write_text(write_page(evaluation), encoding="utf-8")
    except OSError as error:
        raise typer.BadParameter(f"the report cannot be written ({error.strerror})", param_hint="--report") from error


def _tell(evaluation: Evaluation, folder: Path) -> str:
    outcome = evaluation.outcome
    whole, low, high = outcome.whole, *outcome.whole.auc_interval
    alone = ", ".join(f"{each.models[0]} {each.auc:.3f}" for each in outcome.alone)
    decided = (
        f"at {outcome.policy.threshold:g}: sensitivity {whole.sensitivity:.3f}, specificity {whole.specificity:.3f}"
    )
    lines = (
        f"{evaluation.source}: {whole.studies} studies, {whole.pathological} pathological",
        f"AUC {whole.auc:.3f} ({low:.3f} to {high:.3f}); each model alone: {alone}",
        f"ECE {whole.calibration_error:.3f}; {decided}",
        _tell_leading(whole),
        f"{len(evaluation.left_out)} lines left out" if evaluation.left_out else "",
        f"report: {folder / 'report.html'}",
    )
    return "\n".join(line for line in lines if line)


def _tell_leading(report: Report) -> str:
    if report.leading_share is None:
        return "leading finding not judged: the table tells of no finding"
    return f"leading finding right in {report.leading_share:.1%} of the pathological studies"
