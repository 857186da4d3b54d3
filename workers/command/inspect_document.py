"""What `ctclip inspect --json` prints: an intake report in the words that its readers rely on. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from shared.json_values import JsonValue
from shared.problems import CATALOGUE
from workers.intake.report import CandidateReport, ChosenSeries, HuStatistics, IntakeReport

Document = dict[str, JsonValue]


def make_document(report: IntakeReport, seconds: float) -> Document:
    """Return the report as one JSON object. A refused study has `chosen` and `hu` too when a volume could be made.

    `seconds` took the whole command. The document tells of them what the reading took, and step by step, with `start`
    for the reader's process, which a platform pays once.
    """
    problem = report.problem
    reading = sum(report.seconds.values())
    return {
        "outcome": "accepted" if report.is_accepted else "rejected",
        "code": None if problem is None else str(problem.code),
        "detail": None if problem is None else problem.detail,
        "advice": None if problem is None else CATALOGUE[problem.code].advice,
        "facts": {} if problem is None else dict(problem.facts),
        "chosen": None if report.chosen is None else _describe_chosen(report.chosen),
        "hu": None if report.hu is None else _describe_hu(report.hu),
        "choice_policy": report.choice_policy,
        "candidates": [_describe_candidate(candidate) for candidate in report.candidates],
        "files": [
            {
                "name": file.name,
                "outcome": str(file.outcome),
                "code": None if file.code is None else str(file.code),
                "detail": file.detail,
                "size_bytes": file.size_bytes,
            }
            for file in report.files
        ],
        "warnings": [{"code": notice.code, "facts": dict(notice.facts)} for notice in report.notices],
        "seconds": round(reading, 3),
        "timings": {"start": round(max(0.0, seconds - reading), 4), **report.seconds},
    }


def _describe_chosen(chosen: ChosenSeries) -> Document:
    """Return the series with its geometry (LPS, mm); its facts stand beside, not inside, so that nothing is nested."""
    facts: Mapping[str, Any] = chosen.facts
    geometry = {name: value for name, value in asdict(chosen).items() if name != "facts"}
    return {**facts, **{name: list(value) if isinstance(value, tuple) else value for name, value in geometry.items()}}


def _describe_hu(hu: HuStatistics) -> Document:
    """Return what is known of the voxels, over the volume as stored, padding included."""
    return {
        "min": hu.min,
        "max": hu.max,
        "mean": hu.mean,
        "padding_voxels": hu.padding_voxels,
        "sha256_int16_zyx": hu.sha256_int16_zyx,
        "voxels": [{"zyx": list(voxel.zyx), "hu": voxel.hu} for voxel in hu.voxels],
    }


def _describe_candidate(candidate: CandidateReport) -> Document:
    return {
        "uid": candidate.series_instance_uid,
        "slices": candidate.facts.get("slices"),
        "scores": dict(candidate.criteria),
        "total": candidate.score,
        "is_chosen": candidate.is_chosen,
        "reason": candidate.reason,
        "facts": dict(candidate.facts),
    }
