"""`ctclip inspect`: intake without a server. What would be read of a study, what would be refused, and why."""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path
from typing import Annotated

import typer

from shared.artefacts import UploadKind
from shared.errors import CtclipError, InputProblem
from shared.json_values import JsonValue
from workers.command.inspection import render
from workers.intake.children import ChildPool
from workers.intake.limits import IntakeLimits
from workers.intake.messages import Order
from workers.intake.report import IntakeReport, ProblemReport, to_document

REFUSED = 1
_NIFTI_ENDINGS = (".nii", ".nii.gz")


def command(
    study: Annotated[Path, typer.Argument(help="ZIP of DICOM files, or a NIfTI file.", exists=True, dir_okay=False)],
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
    name = study.name.lower()
    kind = UploadKind.NIFTI if name.endswith(_NIFTI_ENDINGS) else UploadKind.ZIP
    pool = ChildPool()
    with tempfile.TemporaryDirectory(prefix="ctclip-") as scratch:
        order = Order(
            address=str(study.resolve()),
            kind=kind,
            volume_path=Path(scratch) / "volume.b2nd",
            limits=IntakeLimits(),
            upload_name=study.name[: name.rfind(".nii")] if kind is UploadKind.NIFTI else study.stem,
            series_uid=series_uid,
            has_digest=True,
        )
        try:
            return pool.read(order, lambda _progress: None)
        except InputProblem as refusal:
            problem = ProblemReport(refusal.problem.code, refusal.problem.detail, dict(refusal.problem.facts))
            return IntakeReport(problem, (), (), (), None, None, {})
        finally:
            pool.close()


def describe(report: IntakeReport, seconds: float) -> dict[str, JsonValue]:
    """Return the report as one JSON object."""
    document = to_document(report)
    stages = document.pop("seconds")
    return {
        "outcome": "accepted" if report.is_accepted else "rejected",
        "code": None if report.problem is None else str(report.problem.code),
        **document,
        "warnings": document.pop("notices"),
        "seconds": {"total": round(seconds, 3), "steps": stages},
    }
