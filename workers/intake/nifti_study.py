"""A NIfTI upload as a study: the same report and the same look at the lungs as a ZIP of DICOM files."""

from __future__ import annotations

import time
from pathlib import Path

from shared.errors import InputProblem
from shared.problems import Problem
from workers.intake.archive import ByteSource
from workers.intake.archive.names import escape_name
from workers.intake.choice.policy import CHOICE_POLICY
from workers.intake.choice.ranking import make_coverage_problem
from workers.intake.files import FileOutcome, FileReport
from workers.intake.limits import IntakeLimits
from workers.intake.lungs import LungFindings, find_lung_notices, find_lung_problem, measure_lungs
from workers.intake.nifti import NiftiVolume, read_nifti
from workers.intake.question import Question
from workers.intake.report import (
    CandidateReport,
    ChosenSeries,
    IntakeReport,
    NoticeReport,
    ProblemReport,
)
from workers.intake.stacks.geometry import find_slice_notices, measure_lean
from workers.intake.study import StudyRead, compute_statistics, draw_volume
from workers.volume import Volume


def read_nifti_study(
    source: ByteSource, upload_name: str, question: Question, limits: IntakeLimits, *, scratch: Path
) -> StudyRead:
    """Read a NIfTI upload. `upload_name` is its name without folder and extension; the uids are made of it."""
    started = time.perf_counter()
    try:
        nifti = read_nifti(source, limits, scratch=scratch)
    except InputProblem as refusal:
        return StudyRead(_refuse(source, refusal.problem), None)
    seconds = {"read": round(time.perf_counter() - started, 4)}
    started = time.perf_counter()
    is_head_last = bool(nifti.geometry.normal[2] > 0)
    findings = measure_lungs(nifti.hu, nifti.geometry.spacing_zyx_mm, is_head_last=is_head_last)
    seconds["lungs"] = round(time.perf_counter() - started, 4)
    problem = _find_problem(nifti, findings)
    if problem is not None and not question.reads_refused:
        return StudyRead(_refuse(source, problem), None)
    chosen = _describe(nifti, findings, escape_name(upload_name), problem)
    slices = find_slice_notices(nifti.geometry.spacing_zyx_mm[0], measure_lean(nifti.geometry.normal))
    notices = (*nifti.notices, *slices, *find_lung_notices(findings))
    report = IntakeReport(
        problem=None if problem is None else _report_problem(problem),
        files=(_describe_file(source, FileOutcome.USED if problem is None else FileOutcome.REJECTED),),
        candidates=(_make_candidate(chosen, is_chosen=problem is None),),
        notices=tuple(NoticeReport(notice.code, dict(notice.facts)) for notice in notices),
        chosen=chosen,
        hu=compute_statistics(nifti.hu, 0, question, threads=limits.threads) if question.reads_pixels else None,
        seconds=seconds,
    )
    volume = Volume(nifti.hu, nifti.geometry, chosen.facts) if problem is None else None
    return StudyRead(report, volume, draw_volume(nifti.hu, nifti.geometry) if question.has_preview else None)


def _find_problem(nifti: NiftiVolume, findings: LungFindings) -> Problem | None:
    depth, fewest = nifti.hu.shape[0], CHOICE_POLICY.fewest_slices
    if depth < fewest:
        extent_mm = depth * nifti.geometry.spacing_zyx_mm[0]
        return make_coverage_problem(extent_mm, f"{depth} of at least {fewest} slices")
    return find_lung_problem(findings)


def _describe(nifti: NiftiVolume, findings: LungFindings, name: str, problem: Problem | None) -> ChosenSeries:
    depth, rows, columns = nifti.hu.shape
    geometry = nifti.geometry
    return ChosenSeries(
        study_uid=f"nifti_{name}",
        series_uid=f"nifti_{name}_series",
        shape_zyx=(depth, rows, columns),
        spacing_zyx_mm=geometry.spacing_zyx_mm,
        origin_lps_mm=geometry.origin_lps_mm,
        row_direction=geometry.row_direction,
        column_direction=geometry.column_direction,
        facts={
            "slices": depth,
            "kernel": [],
            "slice_thickness_mm": None,
            "manufacturer": "",
            "transfer_syntax": "NIfTI",
            "reason": f"{problem.code}: {problem.detail}" if problem else "the only volume of a NIfTI upload",
            **findings.describe(),
        },
    )


def _make_candidate(chosen: ChosenSeries, *, is_chosen: bool) -> CandidateReport:
    reason = str(chosen.facts["reason"])
    return CandidateReport(chosen.series_uid, is_chosen, score=1.0, criteria={}, facts=chosen.facts, reason=reason)


def _describe_file(source: ByteSource, outcome: FileOutcome) -> FileReport:
    return FileReport(0, "upload", source.size_bytes, outcome)


def _report_problem(problem: Problem) -> ProblemReport:
    return ProblemReport(problem.code, problem.detail, dict(problem.facts))


def _refuse(source: ByteSource, problem: Problem) -> IntakeReport:
    return IntakeReport(
        problem=_report_problem(problem),
        files=(_describe_file(source, FileOutcome.REJECTED),),
        candidates=(),
        notices=(),
        chosen=None,
        hu=None,
        seconds={},
    )
