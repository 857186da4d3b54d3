"""A study on this machine, asked for as the stage asks for an upload: for `ctclip inspect` and for training."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from pydantic import ValidationError

from shared.artefacts import UploadKind
from shared.errors import InputProblem
from shared.problems import ProblemCode
from shared.settings import Settings
from shared.upload_kinds import HEAD_BYTES, ForeignKind, explain_foreign, judge_foreign_kind, judge_kind
from workers.intake.limits import IntakeLimits, make_limits
from workers.intake.messages import Order
from workers.intake.question import Question

_NIFTI_ENDING = re.compile(r"\.nii(\.gz)?$", re.IGNORECASE)


def find_local_limits(read_settings: Callable[[], Settings]) -> IntakeLimits:
    """Return the limits that the operator has set; the usual ones on a machine without settings of an installation.

    Raises ValidationError for settings that cannot be used.
    """
    try:
        return make_limits(read_settings())
    except ValidationError as error:
        if any(each["type"] != "missing" for each in error.errors()):
            raise
        return IntakeLimits()


def make_local_order(
    study: Path, volume_path: Path, question: Question, *, keeps_volume: bool, limits: IntakeLimits | None = None
) -> Order:
    """Return the order to read a ZIP, a folder of DICOM files or a NIfTI file, within the usual limits or others.

    Raises InputProblem when its first bytes begin nothing that the gateway takes.
    """
    kind = UploadKind.ZIP if study.is_dir() else judge_local_kind(study)
    return Order(
        address=str(study.resolve()),
        kind=kind,
        volume_path=volume_path,
        limits=limits or IntakeLimits(),
        upload_name=_NIFTI_ENDING.sub("", study.name) if kind is UploadKind.NIFTI else study.stem,
        question=question,
        keeps_volume=keeps_volume,
    )


def judge_local_kind(study: Path) -> UploadKind:
    """Judge the first bytes as the gateway does. Raises InputProblem when they begin nothing that it takes."""
    with study.open("rb") as stream:
        head = stream.read(HEAD_BYTES)
    if not head:
        raise InputProblem(ProblemCode.EMPTY_UPLOAD, "The file has no bytes.")
    kind = judge_kind(head)
    if kind is not None:
        return kind
    foreign = judge_foreign_kind(head)
    detail = explain_foreign(head, foreign)
    if foreign is ForeignKind.DICOM:
        detail = "This is a single DICOM file. Name the folder that holds all files of its study, or a ZIP of them."
    raise InputProblem(ProblemCode.NOT_AN_ARCHIVE, detail, found="unknown" if foreign is None else str(foreign))
