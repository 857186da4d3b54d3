"""`ctclip inspect`: intake without a server. What would be read of a study, what would be refused, and why."""

from __future__ import annotations

import json
import os
import re
import tempfile
import time
from pathlib import Path
from typing import Annotated

import typer

from shared.artefacts import UploadKind
from shared.errors import CtclipError, InputProblem
from shared.json_values import JsonValue
from shared.problems import CATALOGUE, ProblemCode
from shared.upload_kinds import HEAD_BYTES, judge_kind
from workers.command.inspection import render
from workers.intake.children import ChildPool
from workers.intake.limits import IntakeLimits
from workers.intake.messages import Order
from workers.intake.report import IntakeReport, ProblemReport, to_document

REFUSED = 1
_NIFTI_ENDING = re.compile(r"\.nii(\.gz)?$", re.IGNORECASE)


def _check_path(study: Path) -> Path:
    if study.is_dir():
        raise typer.BadParameter(f"{study} is a folder. Pack the DICOM files of one study into a ZIP and name that.")
    if not study.is_file():
        raise typer.BadParameter(f"{study} is not there. Name a ZIP of DICOM files or a NIfTI file.")
    if not os.access(study, os.R_OK):
        raise typer.BadParameter(f"{study} may not be read by this user.")
    return study


def command(
    study: Annotated[Path, typer.Argument(help="ZIP of DICOM files, or a NIfTI file.", callback=_check_path)],
    series: Annotated[str | None, typer.Option(help="Read this SeriesInstanceUID instead of the best one.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Read a study as the platform would, without a server: files, candidates, choice, geometry, HU, problems."""
    started = time.perf_counter()
    try:
        report = inspect(study, series_uid=series)
    except CtclipError as error:
        typer.echo(f"Cannot inspect: {error}", err=True)
        raise typer.Exit(2) from error
    seconds = time.perf_counter() - started
    if as_json:
        typer.echo(json.dumps(describe(report, seconds)))
    else:
        render(report, seconds)
    raise typer.Exit(0 if report.is_accepted else REFUSED)


def inspect(study: Path, *, series_uid: str | None = None) -> IntakeReport:
    """Read a study in a child process, as the stage does, and return its report."""
    try:
        kind = _judge_kind(study)
    except InputProblem as refusal:
        return _refuse(refusal)
    pool = ChildPool()
    with tempfile.TemporaryDirectory(prefix="ctclip-") as scratch:
        order = Order(
            address=str(study.resolve()),
            kind=kind,
            volume_path=Path(scratch) / "volume.b2nd",
            limits=IntakeLimits(),
            upload_name=_NIFTI_ENDING.sub("", study.name) if kind is UploadKind.NIFTI else study.stem,
            series_uid=series_uid,
            has_digest=True,
        )
        try:
            return pool.read(order, lambda _progress: None)
        except InputProblem as refusal:
            return _refuse(refusal)
        finally:
            pool.close()


def _judge_kind(study: Path) -> UploadKind:
    """Judge the first bytes as the gateway does. Raises InputProblem when they begin nothing that it takes."""
    with study.open("rb") as stream:
        head = stream.read(HEAD_BYTES)
    if not head:
        raise InputProblem(ProblemCode.EMPTY_UPLOAD, "The file has no bytes.")
    kind = judge_kind(head)
    if kind is None:
        raise InputProblem(
            ProblemCode.NOT_AN_ARCHIVE,
            f"The first bytes are {head[:4].hex(' ')}; a ZIP (50 4b 03 04) or a NIfTI was expected.",
        )
    return kind


def _refuse(refusal: InputProblem) -> IntakeReport:
    problem = ProblemReport(refusal.problem.code, refusal.problem.detail, dict(refusal.problem.facts))
    return IntakeReport(problem, (), (), (), None, None, {})


def describe(report: IntakeReport, seconds: float) -> dict[str, JsonValue]:
    """Return the report as one JSON object."""
    document = to_document(report)
    stages = document.pop("seconds")
    return {
        "outcome": "accepted" if report.is_accepted else "rejected",
        "code": None if report.problem is None else str(report.problem.code),
        "advice": None if report.problem is None else CATALOGUE[report.problem.code].advice,
        **document,
        "warnings": document.pop("notices"),
        "seconds": {"total": round(seconds, 3), "steps": stages},
    }
