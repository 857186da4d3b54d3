"""A ZIP of DICOM files as a study: the report and, when it is accepted, the volume."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from shared.errors import InputProblem
from shared.problems import Problem
from workers.intake.archive import ByteSource, ExpansionBudget, Member, open_folder, open_zip
from workers.intake.assembly import Assembled, decode_planes, make_geometry, plan_shape
from workers.intake.choice.candidate import Candidate
from workers.intake.choice.explaining import describe_candidates
from workers.intake.choice.ranking import POLICY
from workers.intake.dicom.header import Identity
from workers.intake.dicomdir import find_absent
from workers.intake.files import FileCode, FileOutcome
from workers.intake.limits import IntakeLimits
from workers.intake.notices import Notice
from workers.intake.origin import describe_source
from workers.intake.preview import pick_preview_slices, render_planes, render_preview
from workers.intake.progress import Progress
from workers.intake.question import Question
from workers.intake.reading import Reading
from workers.intake.report import ChosenSeries, HuStatistics, IntakeReport, NoticeReport, ProblemReport, VoxelHu
from workers.intake.slices import SliceReader
from workers.intake.spool import Spool
from workers.intake.stacks.stack import Stack
from workers.intake.study_files import Looker, StudyFiles
from workers.volume import Geometry, Volume
from workers.volume.source import SourceSeries

# Identifiers go back to the caller; what is stored as an object is kept without them (PS3.15 Annex E).
_NOT_IN_VOLUMES = frozenset({"study_instance_uid"})

# Of one slice: as a copy of its instance, as one at its position, in the sparse look, and for the volume.
_MOST_READS = 4


@dataclass(frozen=True)
class StudyRead:
    """The report, the volume when the study was accepted, and the preview (PNG) where it was wanted and possible.

    `source` tells the images of the volume where there are some that can be referred to.
    """

    report: IntakeReport
    volume: Volume | None
    preview: bytes | None = None
    source: SourceSeries | None = None


def read_study(
    source: ByteSource | Path, question: Question, limits: IntakeLimits, *, scratch: Path, report: Progress
) -> StudyRead:
    """Read a ZIP of DICOM files, or a folder of them.

    A refusal is an answer, not an error: it comes back as a report.
    """
    study = StudyFiles()
    with ExitStack() as opened:
        reader_budget = ExpansionBudget(_MOST_READS * limits.archive_bytes)
        slices = opened.enter_context(SliceReader(study.members, reader_budget, scratch))
        budget = ExpansionBudget(limits.archive_bytes)
        nested = _Nested(opened.enter_context(Spool(scratch)), budget, limits) if limits.archive_depth else None
        reading = Reading(slices, question, limits, report, study)
        problem = None
        try:
            members = open_folder(source, limits) if isinstance(source, Path) else open_zip(source, limits)
            reading.read(members, Looker(study, budget, nested))
        except InputProblem as refusal:
            problem = refusal.problem
        preview = _draw(reading) if question.has_preview else None
    return replace(_report(reading, problem), preview=preview)


@dataclass(frozen=True)
class _Nested:
    """Opens ZIPs inside the archive, from a scratch file, within the budgets of the whole."""

    spool: Spool
    budget: ExpansionBudget
    limits: IntakeLimits

    def __call__(self, member: Member, first_ordinal: int) -> tuple[Member, ...]:
        inner = self.spool.take(member.iterate(self.budget))
        return open_zip(inner, self.limits, first_ordinal=first_ordinal, prefix=f"{member.name}/")


def _draw(reading: Reading) -> bytes | None:
    """Return a picture of the volume; where no pixels were read, of a few slices."""
    if reading.candidate is None:
        return None
    with reading.timed("preview"):
        if reading.assembled is not None:
            return draw_volume(reading.assembled.hu, reading.assembled.geometry)
        return _draw_planes(reading, reading.candidate.stack)


def _draw_planes(reading: Reading, stack: Stack) -> bytes | None:
    indices = pick_preview_slices(len(stack.images))
    try:
        planes = decode_planes(stack, indices, reading.slices, reading.limits.threads)
    except InputProblem:  # the archive lies about a slice
        return None
    if not planes:
        return None
    first = stack.images[0].placement
    return render_planes(
        planes, first.spacing_yx_mm, row_direction=first.row_direction, column_direction=first.column_direction
    )


def draw_volume(hu: npt.NDArray[np.int16], geometry: Geometry) -> bytes:
    """Return a picture of a volume."""
    return render_preview(
        hu,
        geometry.spacing_zyx_mm,
        row_direction=geometry.row_direction,
        column_direction=geometry.column_direction,
    )


def compute_statistics(
    hu: npt.NDArray[np.int16], padding_voxels: int, question: Question, *, threads: int = 1
) -> HuStatistics:
    """Return minimum, maximum and mean of a volume, with its digest and single voxels where asked for."""
    with ThreadPoolExecutor(threads) as pool:
        planes = list(pool.map(_measure_plane, hu))
    digest = hashlib.sha256(np.ascontiguousarray(hu, dtype="<i2").data).hexdigest() if question.has_digest else None
    return HuStatistics(
        min=min(lowest for lowest, _, _ in planes),
        max=max(highest for _, highest, _ in planes),
        mean=sum(total for _, _, total in planes) / hu.size,
        padding_voxels=padding_voxels,
        sha256_int16_zyx=digest,
        voxels=tuple(
            VoxelHu(zyx, int(hu[zyx]))
            for zyx in question.voxels
            if all(0 <= index < size for index, size in zip(zyx, hu.shape, strict=True))
        ),
    )


def _measure_plane(plane: npt.NDArray[np.int16]) -> tuple[int, int, int]:
    return int(plane.min()), int(plane.max()), int(plane.sum(dtype=np.int64))


def _report(reading: Reading, problem: Problem | None) -> StudyRead:
    """Tell what was found; the volume goes with it only when the study was accepted."""
    told, assembled = reading.candidate, reading.assembled
    _settle_files(reading, told if problem is None else None)
    chosen = None if told is None else _describe_chosen(told, assembled)
    hu = None
    if assembled is not None:
        with reading.timed("statistics"):
            threads = reading.limits.threads
            hu = compute_statistics(assembled.hu, assembled.padding_voxels, reading.question, threads=threads)
    report = IntakeReport(
        problem=None if problem is None else ProblemReport(problem.code, problem.detail, dict(problem.facts)),
        files=tuple(reading.study.files),
        candidates=describe_candidates(reading.candidates),
        notices=_report_notices((*_tell_files(reading), *(assembled.notices if assembled else ()))),
        chosen=chosen,
        hu=hu,
        seconds={step: round(value, 4) for step, value in reading.seconds.items()},
        choice_policy=POLICY,
        study_uids=tuple(sorted({identity.study_uid for identity in reading.study.identities} - {""})),
        patient_digest=_find_patient(reading.study.identities),
    )
    if problem is not None or assembled is None or chosen is None or told is None:
        return StudyRead(report, None)
    facts = {name: value for name, value in chosen.facts.items() if name not in _NOT_IN_VOLUMES}
    volume = Volume(assembled.hu, assembled.geometry, facts)
    return StudyRead(report, volume, source=_describe_source(told.stack, assembled))


def _describe_source(stack: Stack, assembled: Assembled) -> SourceSeries | None:
    unreadable = [image for image, _ in assembled.failures]
    return describe_source(stack.images, unreadable, is_resampled=assembled.is_resampled)


def _find_patient(identities: Iterable[Identity]) -> str | None:
    """Return the digest of the patient, with the issuer of the id where a file names one; None for several patients."""
    issued = {identity.issued_patient for identity in identities} - {b""}
    digests = issued or {identity.patient for identity in identities} - {b""}
    return next(iter(digests)).hex() if len(digests) == 1 else None


def _settle_files(reading: Reading, chosen: Candidate | None) -> None:
    """Put the files in their order, and mark the images that the volume was not made of."""
    used = {image.ordinal for image in chosen.stack.images} if chosen else set()
    detail = "belongs to a stack that was not chosen" if chosen else "the study was refused"
    codes = {
        image.ordinal: candidate.file_code or FileCode.NOT_CHOSEN
        for candidate in reading.candidates
        for image in candidate.stack.images
    }
    reading.study.files = [
        file.set_aside(FileOutcome.IGNORED, codes.get(file.ordinal, FileCode.NOT_CHOSEN), detail)
        if file.outcome is FileOutcome.USED and file.ordinal not in used
        else file
        for file in sorted(reading.study.files, key=lambda file: file.ordinal)
    ]


def _describe_chosen(chosen: Candidate, assembled: Assembled | None) -> ChosenSeries:
    """Describe the volume; where no pixels were read, as the headers promise it."""
    stack = chosen.stack
    depth, rows, columns = assembled.hu.shape if assembled else plan_shape(stack, chosen.geometry)
    geometry = assembled.geometry if assembled else make_geometry(stack.images[0], chosen.geometry)
    return ChosenSeries(
        study_uid=stack.study_uid,
        series_uid=stack.series_uid,
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
    absent = find_absent(frozenset(reading.study.referenced), reading.study.names)
    if absent:
        yield Notice("dicomdir_mismatch", {"listed": len(reading.study.referenced), "absent": len(absent)})
    rejected = sum(file.outcome is FileOutcome.REJECTED for file in reading.study.files)
    if rejected:
        yield Notice("files_rejected", {"files": rejected})


def _report_notices(notices: tuple[Notice, ...] | Iterator[Notice]) -> tuple[NoticeReport, ...]:
    return tuple(NoticeReport(notice.code, dict(notice.facts)) for notice in notices)
