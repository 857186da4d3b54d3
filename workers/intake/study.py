"""A ZIP of DICOM files as a study: the report and, when it is accepted, the volume."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from shared.errors import InputProblem
from shared.problems import Problem
from workers.intake.archive import ByteSource
from workers.intake.assembly import Assembled
from workers.intake.choice.candidate import Candidate
from workers.intake.choice.explaining import describe_candidates
from workers.intake.files import FileCode, FileOutcome
from workers.intake.limits import IntakeLimits
from workers.intake.notices import Notice
from workers.intake.question import Question
from workers.intake.reading import Progress, Reading
from workers.intake.report import ChosenSeries, HuStatistics, IntakeReport, NoticeReport, ProblemReport
from workers.intake.spool import Spool
from workers.volume import Volume


@dataclass(frozen=True)
class StudyRead:
    """The report, and the volume when the study was accepted."""

    report: IntakeReport
    volume: Volume | None


def read_study(
    source: ByteSource, question: Question, limits: IntakeLimits, *, scratch: Path, report: Progress
) -> StudyRead:
    """Read a ZIP of DICOM files. A refusal is an answer, not an error: it comes back as a report."""
    with Spool(scratch) as spool:
        reading = Reading(spool, question, limits, report)
        try:
            chosen, assembled = reading.read(source)
        except InputProblem as refusal:
            return StudyRead(_report_refusal(reading, refusal.problem), None)
    described = _describe_chosen(chosen, assembled)
    _settle_files(reading, chosen)
    accepted = IntakeReport(
        problem=None,
        files=tuple(reading.study.files),
        candidates=describe_candidates(reading.candidates),
        notices=_report_notices((*_tell_files(reading), *assembled.notices)),
        chosen=described,
        hu=compute_statistics(assembled.hu, assembled.padding_voxels, has_digest=question.has_digest),
        seconds=_round(reading.seconds),
    )
    return StudyRead(accepted, Volume(assembled.hu, assembled.geometry, described.facts))


def compute_statistics(hu: npt.NDArray[np.int16], padding_voxels: int, *, has_digest: bool) -> HuStatistics:
    """Return minimum, maximum and mean of a volume, slice by slice, with its digest when asked for."""
    lowest = min(int(plane.min()) for plane in hu)
    highest = max(int(plane.max()) for plane in hu)
    total = sum(int(plane.sum(dtype=np.int64)) for plane in hu)
    digest = hashlib.sha256(np.ascontiguousarray(hu, dtype="<i2").data).hexdigest() if has_digest else None
    return HuStatistics(lowest, highest, total / hu.size, padding_voxels, digest)


def _report_refusal(reading: Reading, problem: Problem) -> IntakeReport:
    _settle_files(reading, None)
    return IntakeReport(
        problem=ProblemReport(problem.code, problem.detail, dict(problem.facts)),
        files=tuple(reading.study.files),
        candidates=describe_candidates(reading.candidates),
        notices=_report_notices(_tell_files(reading)),
        chosen=None,
        hu=None,
        seconds=_round(reading.seconds),
    )


def _settle_files(reading: Reading, chosen: Candidate | None) -> None:
    """Put the files in their order, and mark the images that the volume was not made of."""
    used = {image.ordinal for image in chosen.stack.images} if chosen else set()
    detail = "belongs to a stack that was not chosen" if chosen else "the study was refused"
    reading.study.files = sorted(
        (
            file.set_aside(FileOutcome.IGNORED, FileCode.NOT_CHOSEN, detail)
            if file.outcome is FileOutcome.USED and file.ordinal not in used
            else file
            for file in reading.study.files
        ),
        key=lambda file: file.ordinal,
    )


def _describe_chosen(chosen: Candidate, assembled: Assembled) -> ChosenSeries:
    depth, rows, columns = assembled.hu.shape
    geometry = assembled.geometry
    return ChosenSeries(
        study_uid=chosen.stack.study_uid,
        series_uid=chosen.stack.series_uid,
        shape_zyx=(depth, rows, columns),
        spacing_zyx_mm=geometry.spacing_zyx_mm,
        origin_lps_mm=geometry.origin_lps_mm,
        row_direction=geometry.row_direction,
        column_direction=geometry.column_direction,
        facts={**chosen.describe(), "reason": chosen.reason},
    )


def _tell_files(reading: Reading) -> Iterator[Notice]:
    if reading.study.without_preamble:
        yield Notice("no_preamble", {"files": reading.study.without_preamble})
    rejected = sum(file.outcome is FileOutcome.REJECTED for file in reading.study.files)
    if rejected:
        yield Notice("files_rejected", {"files": rejected})


def _report_notices(notices: tuple[Notice, ...] | Iterator[Notice]) -> tuple[NoticeReport, ...]:
    return tuple(NoticeReport(notice.code, dict(notice.facts)) for notice in notices)


def _round(seconds: dict[str, float]) -> dict[str, float]:
    return {step: round(value, 4) for step, value in seconds.items()}
