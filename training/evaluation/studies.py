"""Real studies of a folder, with a CSV file that says what is true of them; read as an upload is read.

    path,patient,pathology,pleural_effusion,pulmonary_nodule
    a/study1.zip,P1,1,1,

A column is named by the id of a canonical finding (`shared/findings.toml`); `pathology` says whether anything is wrong.
1 is there, 0 is not, empty is not known. Where `pathology` is empty or absent, one finding that is there says yes, and
findings that are all known not to be say no.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from shared.errors import InputProblem
from shared.findings import FINDINGS, FindingKind
from training.evaluation.answers import (
    TakenStudy,
    answer,
    ask_ahead,
    is_answered,
    read_answers,
)
from training.evaluation.case import Case, LeftOut
from training.evaluation.weights import WeightSet
from training.kept_files import keep_document, read_document
from training.supervised.reading import StudyReader, compute_study_digest
from training.supervised.table import Row, read_table
from workers.drift.scan import Scan

PATHOLOGY = "pathology"
NO_TRUTH = "no_truth"
"""Code of a line from which it cannot be told whether anything is wrong."""

_FINDINGS = tuple(finding.id for finding in FINDINGS if finding.kind is FindingKind.FINDING)
TRUTH_COLUMNS = (PATHOLOGY, *_FINDINGS)
"""Columns of the table that say what is true of a study."""


@dataclass(frozen=True)
class _Study:
    row: Row
    digest: str


def ask_about_studies(
    table: Path, root: Path | None, weights: WeightSet, folder: Path, *, processes: int
) -> tuple[list[Case], list[LeftOut]]:
    """Let every model answer the studies of a table. Answers, and refusals, are kept in `folder` by the study's digest.

    Raises Defect when the table cannot be read.
    """
    read = read_table(table, TRUTH_COLUMNS, root=root)
    left_out: list[LeftOut] = []
    studies = [study for row in read.rows if (study := _find(row, left_out)) is not None]
    lacking = {study.digest: study.row.study for study in studies if not _is_settled(folder, study.digest, weights)}
    ask_ahead(list(lacking), partial(_ask, places=lacking, weights=weights, folder=folder), processes)
    cases = [case for study in studies if (case := _make_case(study, read.labels, weights, folder, left_out))]
    return cases, sorted(left_out, key=lambda each: each.line)


def _find(row: Row, left_out: list[LeftOut]) -> _Study | None:
    try:
        return _Study(row, compute_study_digest(row.study))
    except InputProblem as refusal:
        left_out.append(LeftOut(row.line, str(refusal.problem.code), refusal.problem.detail))
        return None


def _ask(digest: str, places: dict[str, Path], weights: WeightSet, folder: Path) -> None:
    try:
        answer(digest, partial(_take, study=places[digest]), weights, folder)
    except InputProblem as refusal:
        told = {"code": str(refusal.problem.code), "detail": refusal.problem.detail}
        keep_document(_locate_refusal(folder, digest), told)


def _take(digest: str, study: Path) -> TakenStudy:
    with TemporaryDirectory(prefix="ctclip-") as scratch, StudyReader(Path(scratch), keeps_volumes=False) as reader:
        volume = reader.read(study, digest)
    return TakenStudy(volume, Scan.from_facts(volume.facts))


def _is_settled(folder: Path, digest: str, weights: WeightSet) -> bool:
    return _locate_refusal(folder, digest).exists() or is_answered(folder, digest, weights)


def _locate_refusal(folder: Path, digest: str) -> Path:
    return folder / "refused" / f"{digest}.json"


def _make_case(
    study: _Study, labels: Sequence[str], weights: WeightSet, folder: Path, left_out: list[LeftOut]
) -> Case | None:
    refusal = _locate_refusal(folder, study.digest)
    if refusal.exists():
        told = read_document(refusal)
        left_out.append(LeftOut(study.row.line, told["code"], told["detail"]))
        return None
    told_truth = dict(zip(labels, study.row.targets, strict=True))
    is_pathological = _judge_truth(told_truth)
    if is_pathological is None:
        left_out.append(LeftOut(study.row.line, NO_TRUTH, "The line does not tell whether anything is wrong."))
        return None
    features, scan, seconds = read_answers(folder, study.digest, weights)
    return Case(
        number=study.row.line,
        features=features,
        truth=frozenset(finding for finding, value in told_truth.items() if finding != PATHOLOGY and value == 1),
        is_pathological=is_pathological,
        unknown=frozenset(finding for finding in _FINDINGS if math.isnan(told_truth.get(finding, math.nan))),
        scan=scan,
        digest=study.digest,
        seconds=seconds,
    )


def _judge_truth(told: dict[str, float]) -> bool | None:
    """Return whether anything is wrong; None where the line does not say."""
    said = told.pop(PATHOLOGY, math.nan)
    if not math.isnan(said):
        return said == 1
    if 1 in told.values():
        return True
    return None if not told or any(math.isnan(value) for value in told.values()) else False
