"""A study on this machine, asked for as the stage asks for an upload: for `ctclip inspect` and for training."""

from __future__ import annotations

import re
from pathlib import Path

from shared.artefacts import UploadKind
from shared.errors import InputProblem
from shared.problems import ProblemCode
from shared.upload_kinds import HEAD_BYTES, ForeignKind, explain_foreign, judge_foreign_kind, judge_kind
from workers.intake.limits import IntakeLimits
from workers.intake.messages import Order
from workers.intake.question import Question

_NIFTI_ENDING = re.compile(r"\.nii(\.gz)?$", re.IGNORECASE)


def make_local_order(study: Path, volume_path: Path, question: Question, *, keeps_volume: bool) -> Order:
    """Return the order to read a ZIP, a folder of DICOM files or a NIfTI file.

    Raises InputProblem when its first bytes begin nothing that the gateway takes.
    """
    kind = UploadKind.ZIP if study.is_dir() else judge_local_kind(study)
    return Order(
        address=str(study.resolve()),
        kind=kind,
        volume_path=volume_path,
        limits=IntakeLimits(),
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
