"""Whether an upload of several studies becomes one job for each. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

from shared.planning import MOST_SPLIT_STUDIES
from shared.problems import Problem, ProblemCode
from workers.intake.report import IntakeReport, ProblemReport

# A UID has digits and dots only (PS3.5 9.1); those of some anonymisers have more, and still tell studies apart.
_USABLE_UID = re.compile(r"[0-9A-Za-z._-]{1,64}")


@dataclass(frozen=True)
class Split:
    """The problem of an upload, and the studies that it is split into: none when it cannot be."""

    problem: Problem
    study_uids: tuple[str, ...] = ()


def split_studies(report: IntakeReport, problem: ProblemReport) -> Split:
    """Return the studies of a refused upload that was to be split; where it cannot be, its problem says why."""
    if problem.code is not ProblemCode.MIXED_STUDIES:
        return Split(Problem(problem.code, problem.detail, problem.facts))
    hindrance = _find_hindrance(report, problem)
    if hindrance is None:
        return Split(Problem(problem.code, problem.detail, problem.facts), report.study_uids)
    return Split(Problem(problem.code, f"{problem.detail} It was not split: {hindrance}.", problem.facts))


def _find_hindrance(report: IntakeReport, problem: ProblemReport) -> str | None:
    """Return why no set of jobs would hold every file exactly once, or None."""
    if len(report.study_uids) < 2:
        return "the patients share one StudyInstanceUID"
    if len(report.study_uids) > MOST_SPLIT_STUDIES:
        return f"{len(report.study_uids)} studies are more than {MOST_SPLIT_STUDIES}"
    if problem.facts.get("files_without_study"):
        return "some files name no StudyInstanceUID"
    if not all(_USABLE_UID.fullmatch(uid) for uid in report.study_uids):
        return "a StudyInstanceUID is no UID"
    return None
