"""What became of one study, as rows of the three sheets. Pure: what was answered -> rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypeAlias

from client.batch.studies import Study
from client.documents import Job, Problem
from client.results import FindingResult, StudyResult

Row: TypeAlias = Mapping[str, Any]

SUCCESS, FAILURE = "Success", "Failure"
NOT_FINISHED = "not_finished"
"""Code of a study that has no outcome yet: the next run goes on with it."""
FILE_UNREADABLE = "file_unreadable"
"""Code of a file that could not be opened; the next run tries again."""

PROBABILITY = "probability_"
"""What the columns of models begin with in the sheet of findings."""


@dataclass(frozen=True)
class Outcome:
    """The row of a study, a row for each finding, and a row for all that went wrong or was odd."""

    row: Row
    findings: Sequence[Row]
    problems: Sequence[Row]

    @property
    def has_result(self) -> bool:
        """Whether the study was read and answered."""
        return bool(self.row["processing_status"] == SUCCESS)

    @property
    def problem_code(self) -> str | None:
        """Why there is no result."""
        return self.row.get("problem_code")

    def dump(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return asdict(self)


def describe_result(study: Study, job: Job, result: StudyResult) -> Outcome:
    """Return the rows of a study that was answered."""
    row = {
        "path_to_study": str(study.path),
        "study_uid": result.study_uid,
        "series_uid": result.series_uid,
        "probability_of_pathology": result.probability_of_pathology,
        "pathology": result.pathology,
        "processing_status": SUCCESS,
        "time_of_processing": result.time_of_processing,
        "most_dangerous_pathology_type": result.most_dangerous_pathology_type,
        **_describe_job(study, job),
        "threshold": result.threshold,
        "policy_id": result.policy_id,
        "models_answered": result.answered,
        "models_expected": result.expected,
        "models_missing": ", ".join(missing.model for missing in result.missing),
        "warnings": ", ".join(dict.fromkeys(note.code for note in result.quality)),
        "weights_profile": result.weights_profile,
    }
    subject = {"path_to_study": row["path_to_study"], "job_id": job.id}
    warnings = [{**subject, "kind": "warning", "code": note.code} for note in result.quality]
    missing = [{**subject, "kind": "model_missing", "code": one.reason, "title": one.model} for one in result.missing]
    findings = [_describe_finding(subject, result, finding) for finding in result.findings]
    return Outcome(row, findings, [*warnings, *missing])


def describe_failure(study: Study, problem: Problem, job: Job | None = None) -> Outcome:
    """Return the rows of a study that has no result: the contract's values of a failure, and why."""
    row = {
        "path_to_study": str(study.path),
        "study_uid": "",
        "series_uid": "",
        "processing_status": FAILURE,
        "time_of_processing": _measure(job),
        **_describe_job(study, job),
        "problem_code": problem.code,
        "problem": problem.detail or problem.title,
    }
    told = {
        "path_to_study": row["path_to_study"],
        "job_id": job.id if job else None,
        "kind": "problem",
        "code": problem.code,
        "title": problem.title,
        "detail": problem.detail,
        "advice": problem.document.get("advice"),
    }
    return Outcome(row, [], [told])


def describe_unfinished(study: Study, code: str = NOT_FINISHED, detail: str = "") -> Outcome:
    """Return the rows of a study that the next run goes on with."""
    detail = detail or "The batch ended before this study did. Run the same command again: it goes on."
    return describe_failure(study, Problem(code, "There is no outcome yet", detail, None, {}))


def _describe_job(study: Study, job: Job | None) -> dict[str, Any]:
    described: dict[str, Any] = {"size_bytes": study.size_bytes}
    if job is not None:
        described |= {
            "state": job.state,
            "job_id": job.id,
            "reused_from": job.reused_from,
            "created_at": job.created_at.isoformat() if job.created_at else None,
            "finished_at": job.finished_at.isoformat() if job.finished_at else None,
        }
    return described


def _describe_finding(subject: Row, result: StudyResult, finding: FindingResult) -> Row:
    return {
        **subject,
        "study_uid": result.study_uid,
        "finding": finding.finding,
        "name": finding.name,
        "organ": finding.organ,
        "attribution": finding.attribution,
        "above_threshold": finding.is_above_threshold,
        **{f"{PROBABILITY}{model}": probability for model, probability in finding.probabilities.items()},
    }


def _measure(job: Job | None) -> float | None:
    if job is None or job.created_at is None or job.finished_at is None:
        return None
    return (job.finished_at - job.created_at).total_seconds()
