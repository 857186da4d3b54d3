"""What metrics tell of studies that were read: how they lie in space, how close the choice was, what was odd.

Counts only: nothing that headers of a study say in words, and no verdict.
"""

from __future__ import annotations

from shared.metrics import (
    CHOICE_MARGIN,
    CHOICE_SCORE,
    PIXEL_SPACING_MM,
    SLICE_SPACING_MM,
    SLICE_THICKNESS_MM,
    STUDY_CANDIDATES,
    STUDY_SLICES,
    STUDY_WARNINGS,
    UPLOAD_FILES,
)
from workers.intake.report import CandidateReport, ChosenSeries, IntakeReport


def count_study(report: IntakeReport) -> None:
    """Count what intake found out about one upload."""
    for file in report.files:
        UPLOAD_FILES.labels(outcome=file.outcome, code=file.code or "").inc()
    for notice in report.notices:
        STUDY_WARNINGS.labels(code=notice.code).inc()
    if report.chosen is not None:
        _count_chosen(report.chosen)
        _count_choice(report.candidates)


def _count_chosen(chosen: ChosenSeries) -> None:
    slice_spacing_mm, row_spacing_mm, _ = chosen.spacing_zyx_mm
    SLICE_SPACING_MM.observe(slice_spacing_mm)
    PIXEL_SPACING_MM.observe(row_spacing_mm)
    STUDY_SLICES.observe(chosen.shape_zyx[0])
    thickness_mm = chosen.facts.get("slice_thickness_mm")
    if isinstance(thickness_mm, int | float):
        SLICE_THICKNESS_MM.observe(thickness_mm)


def _count_choice(candidates: tuple[CandidateReport, ...]) -> None:
    STUDY_CANDIDATES.observe(len(candidates))
    scores = [candidate.score for candidate in candidates if candidate.is_chosen]
    others = [candidate.score for candidate in candidates if not candidate.is_chosen]
    if scores:
        CHOICE_SCORE.observe(scores[0])
    if scores and others:
        CHOICE_MARGIN.observe(max(0.0, scores[0] - max(others)))
