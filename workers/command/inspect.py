"""`ctclip inspect`: intake without a server. What would be read of a study, what would be refused, and why."""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from pydantic import ValidationError

from shared.artefacts import UploadKind
from shared.errors import CtclipError, InputProblem
from shared.settings import get_settings
from workers.command.inspect_document import make_document
from workers.command.inspection import render
from workers.intake.children import ChildPool
from workers.intake.limits import IntakeLimits
from workers.intake.local_study import find_local_limits, make_local_order
from workers.intake.messages import Order
from workers.intake.question import Question, VoxelIndex
from workers.intake.report import IntakeReport, ProblemReport

WRONG_USAGE = 2
"""Exit status, as typer's own, when the settings of the installation cannot be used."""

FAULT = 1
"""Exit status when the study could not be judged, for no fault of its own."""

REJECTED = 3
"""Exit status when the platform would refuse the study."""

_VOXEL = re.compile(r"(\d+),(\d+),(\d+)", re.ASCII)


_Arguments = Annotated[
    list[str],
    typer.Argument(metavar="STUDY", help="ZIP or folder of DICOM files, or a NIfTI file.", show_default=False),
]
_Series = Annotated[
    str | None, typer.Option(metavar="UID", help="Read this SeriesInstanceUID instead of the best one.")
]
_Voxels = Annotated[
    list[str] | None, typer.Option(metavar="Z,Y,X ...", help="Tell the HU of these voxels; may be given again.")
]
_Thumbnail = Annotated[
    Path | None, typer.Option(metavar="PNG", help="Write a picture of the volume, also of a refused one.")
]
_HeadersOnly = Annotated[bool, typer.Option("--headers-only", help="Skip the pixels: no HU, no look for lungs.")]
_AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


def command(
    arguments: _Arguments,
    *,
    series: _Series = None,
    voxel: _Voxels = None,
    thumbnail: _Thumbnail = None,
    headers_only: _HeadersOnly = False,
    as_json: _AsJson = False,
) -> None:
    """Read a study as the platform would, without a server: files, candidates, choice, geometry, HU, problems.

    Exit status: 0 accepted, 3 rejected, 2 wrong usage, 1 it could not be judged.
    """
    started = time.perf_counter()
    path, others = _part(arguments)
    voxels = _parse_voxels([*(voxel or ()), *others])
    study = _check_path(path)
    _check_thumbnail(thumbnail)
    if headers_only and voxels:
        raise typer.BadParameter("needs the pixels, which --headers-only skips.", param_hint="--voxel")
    question = Question(
        series_uid=series, reads_pixels=not headers_only, reads_refused=True, has_digest=True, voxels=voxels
    )
    report = _inspect_or_exit(study, question, thumbnail)
    _check_voxels(voxels, report)
    _show(report, time.perf_counter() - started, as_json=as_json)
    raise typer.Exit(0 if report.is_accepted else REJECTED)


def _inspect_or_exit(study: Path, question: Question, thumbnail: Path | None) -> IntakeReport:
    try:
        limits = find_local_limits(get_settings)
        report, has_picture = inspect(study, question, limits, thumbnail=thumbnail)
    except ValidationError as error:
        typer.echo("The CTCLIP_* settings cannot be used.", err=True)
        raise typer.Exit(WRONG_USAGE) from error
    except CtclipError as error:
        typer.echo(f"Cannot inspect: {error}", err=True)
        raise typer.Exit(FAULT) from error
    if thumbnail and not has_picture:
        typer.echo(f"{thumbnail} was not written: there is no volume to draw.", err=True)
    return report


def inspect(
    study: Path, question: Question, limits: IntakeLimits, *, thumbnail: Path | None = None
) -> tuple[IntakeReport, bool]:
    """Read a study in a child process, as the stage does. Return its report, and whether there is a picture.

    Where a volume could be made, its picture is written to `thumbnail`. Raises TransientFault and Defect.
    """
    with tempfile.TemporaryDirectory(prefix="ctclip-") as scratch:
        asked = replace(question, has_preview=thumbnail is not None)
        try:
            order = make_local_order(study, Path(scratch) / "volume.b2nd", asked, keeps_volume=False, limits=limits)
        except InputProblem as refusal:
            return _refuse(refusal), False
        report = _read(order)
        has_picture = order.preview_path.exists()
        if thumbnail and has_picture:
            shutil.copyfile(order.preview_path, thumbnail)
        return report, has_picture


def _read(order: Order) -> IntakeReport:
    pool = ChildPool(reads_headers_only=not order.question.reads_pixels and order.kind is not UploadKind.NIFTI)
    try:
        return pool.read(order, lambda _progress: None)
    except InputProblem as refusal:
        return _refuse(refusal)
    finally:
        pool.close()


def _refuse(refusal: InputProblem) -> IntakeReport:
    problem = ProblemReport(refusal.problem.code, refusal.problem.detail, dict(refusal.problem.facts))
    return IntakeReport(problem, (), (), (), None, None, {})


def _part(arguments: Sequence[str]) -> tuple[Path, list[str]]:
    """Part the study from voxels, of which `--voxel 1,2,3 4,5,6` leaves the second among the arguments."""
    voxels = [argument for argument in arguments if _VOXEL.fullmatch(argument)]
    studies = [argument for argument in arguments if argument not in voxels]
    if len(studies) != 1:
        raise typer.BadParameter(f"one study is read at a time; {len(studies)} were named.", param_hint="STUDY")
    return Path(studies[0]), voxels


def _parse_voxels(texts: Sequence[str]) -> tuple[VoxelIndex, ...]:
    words = [word for text in texts for word in text.split()]
    matches = [_VOXEL.fullmatch(word) for word in words]
    for word, match in zip(words, matches, strict=True):
        if match is None:
            raise typer.BadParameter(f"{word!r} is no index z,y,x such as 10,256,256.", param_hint="--voxel")
    return tuple((int(match[1]), int(match[2]), int(match[3])) for match in matches if match)


def _check_voxels(voxels: Sequence[VoxelIndex], report: IntakeReport) -> None:
    """End with a usage error when a voxel lies outside the volume; without a volume there is nothing to say."""
    if report.chosen is None:
        return
    shape = report.chosen.shape_zyx
    for zyx in voxels:
        if any(index >= size for index, size in zip(zyx, shape, strict=True)):
            asked, held = ",".join(map(str, zyx)), ",".join(map(str, shape))
            raise typer.BadParameter(f"{asked} lies outside the volume, whose shape is {held}.", param_hint="--voxel")


def _check_path(study: Path) -> Path:
    if not study.exists():
        raise typer.BadParameter(
            f"{study} is not there. Name a ZIP or a folder of DICOM files, or a NIfTI file.", param_hint="STUDY"
        )
    if study.is_fifo() or study.is_socket():  # opening one would wait for a writer that may never come
        raise typer.BadParameter(f"{study} is a pipe; name a file or a folder.", param_hint="STUDY")
    if not os.access(study, os.R_OK | os.X_OK if study.is_dir() else os.R_OK):
        raise typer.BadParameter(f"{study} may not be read by this user.", param_hint="STUDY")
    return study


def _check_thumbnail(path: Path | None) -> None:
    """End with a usage error before the study is read, not after."""
    if path is None:
        return
    if path.is_dir() or not os.access(path if path.exists() else path.parent, os.W_OK):
        raise typer.BadParameter(f"{path} cannot be written.", param_hint="--thumbnail")


def _show(report: IntakeReport, seconds: float, *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(make_document(report, seconds)))
    else:
        render(report, seconds)
