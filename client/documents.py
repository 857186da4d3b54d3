"""What the API answers, as far as the client relies on it. Reading is tolerant: fields that are added do no harm."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NotRequired, TypeAlias, TypedDict

Document: TypeAlias = Mapping[str, Any]
"""A JSON object as it came."""

WITHOUT_RESULT = frozenset({"rejected", "failed", "cancelled", "expired"})
WITH_RESULT = frozenset({"completed", "completed_partial"})


@dataclass(frozen=True)
class Problem:
    """A problem document (RFC 9457). `code` is what a program decides by; `document` holds every member."""

    code: str
    title: str
    detail: str
    trace_id: str | None
    document: Document

    @classmethod
    def parse(cls, document: Document) -> Problem:
        """Read a problem document; what is missing becomes empty."""
        return cls(
            code=str(document.get("code", "unknown")),
            title=str(document.get("title", "Unknown problem")),
            detail=str(document.get("detail", "")),
            trace_id=document.get("trace_id"),
            document=document,
        )

    @property
    def field_errors(self) -> list[tuple[str, str]]:
        """The fields that are wrong: the JSON Pointer of each, and what is wrong with it."""
        return [(str(error.get("pointer", "")), str(error.get("message", ""))) for error in self._errors]

    @property
    def _errors(self) -> list[Document]:
        errors = self.document.get("errors")
        return [error for error in errors if isinstance(error, Mapping)] if isinstance(errors, list) else []


@dataclass(frozen=True)
class StageProgress:
    """Where one stage of a job stands. `seconds` is the time of the last attempt, or None before it has ended."""

    name: str
    state: str
    attempt: int
    reason: str | None
    started_at: datetime | None
    finished_at: datetime | None
    seconds: float | None

    @classmethod
    def parse(cls, document: Document) -> StageProgress:
        """Read one entry of a job's `stages`."""
        return cls(
            name=str(document["name"]),
            state=str(document["state"]),
            attempt=int(document.get("attempt") or 0),
            reason=document.get("reason"),
            started_at=_parse_time(document.get("started_at")),
            finished_at=_parse_time(document.get("finished_at")),
            seconds=document.get("seconds"),
        )


@dataclass(frozen=True)
class Job:
    """A job as the API shows it; `document` holds every field."""

    id: str
    state: str
    progress: float
    stages: Sequence[StageProgress]
    created_at: datetime | None
    finished_at: datetime | None
    problem: Problem | None
    queue_position: int | None
    labels: Mapping[str, Any]
    reused_from: str | None
    document: Document

    @classmethod
    def parse(cls, document: Document) -> Job:
        """Read a job document. Raises KeyError when it is none."""
        problem = document.get("problem")
        return cls(
            id=str(document["id"]),
            state=str(document["state"]),
            progress=float(document.get("progress") or 0.0),
            stages=tuple(StageProgress.parse(stage) for stage in document.get("stages", ())),
            created_at=_parse_time(document.get("created_at")),
            finished_at=_parse_time(document.get("finished_at")),
            problem=Problem.parse(problem) if problem else None,
            queue_position=document.get("queue_position"),
            labels=document.get("labels") or {},
            reused_from=document.get("reused_from"),
            document=document,
        )

    @property
    def has_ended(self) -> bool:
        """Whether the job will not change any more."""
        return self.state in WITH_RESULT | WITHOUT_RESULT

    @property
    def has_succeeded(self) -> bool:
        """Whether the job did what it was asked for."""
        return self.state in WITH_RESULT

    @property
    def is_validation(self) -> bool:
        """Whether the job only reads the study (`validate_only`), so that it never has a result."""
        return any(stage.name == "fusion" and stage.reason == "validate_only" for stage in self.stages)

    @property
    def has_result(self) -> bool:
        """Whether there is a result to fetch."""
        return self.has_succeeded and not self.is_validation

    def has_changed_since(self, seen: Job | None) -> bool:
        """Whether it stands elsewhere than when it was seen. Its `eta` shrinks with every second and does not count."""
        return seen is None or _drop_estimate(self.document) != _drop_estimate(seen.document)

    @property
    def parts(self) -> Sequence[str]:
        """Ids of the jobs that this one was split into, one for each study of the upload."""
        jobs = self.problem.document.get("jobs", ()) if self.problem else ()
        return [str(job["id"]) for job in jobs]


@dataclass(frozen=True)
class Event:
    """What happened to a job. `id` is where a stream resumes; `progress` is 0 to 1, of a running stage."""

    id: int
    kind: str
    job_id: str
    stage: str | None
    state: str | None
    progress: float | None
    at: datetime | None

    @classmethod
    def parse(cls, id_: int, kind: str, document: Document) -> Event:
        """Read the data of an event. Raises KeyError when it is none."""
        return cls(
            id=id_,
            kind=kind,
            job_id=str(document["job_id"]),
            stage=document.get("stage"),
            state=document.get("state"),
            progress=document.get("progress"),
            at=_parse_time(document.get("at")),
        )

    @property
    def ends_job(self) -> bool:
        """Whether nothing comes after it."""
        return self.kind == "job.state" and self.state in WITH_RESULT | WITHOUT_RESULT


@dataclass(frozen=True)
class Erasure:
    """The certificate of an erased job: how many objects and rows were removed."""

    certificate_id: str
    erased_at: datetime | None
    objects: int
    rows: int

    @classmethod
    def parse(cls, document: Document) -> Erasure:
        """Read a certificate. Raises KeyError when it is none."""
        erased_at = _parse_time(document.get("erased_at"))
        return cls(str(document["certificate_id"]), erased_at, int(document["objects"]), int(document["rows"]))


class MissingModel(TypedDict):
    """A model that did not answer, and why."""

    model: str
    reason: str


class Completeness(TypedDict):
    """How many models answered, of how many."""

    answered: int
    expected: int
    missing: Sequence[MissingModel]


class Finding(TypedDict):
    """One finding: what each model says of it, its own threshold, and how far it moved the score (log-odds)."""

    finding: str
    name: str
    models: Mapping[str, float]
    attribution: float | None
    above_threshold: bool | None
    thresholds: NotRequired[Mapping[str, float]]
    name_ru: NotRequired[str]
    organ: NotRequired[str]


class ResultDocument(TypedDict):
    """The result of one study: the seven fields of the compatible contract and the explanation."""

    study_uid: str
    series_uid: str
    probability_of_pathology: float
    pathology: int
    most_dangerous_pathology_type: str
    processing_status: str
    time_of_processing: float
    job_id: str
    state: str
    completeness: Completeness
    threshold: float
    policy_id: str
    weights_profile: str
    findings: Sequence[Finding]
    site_findings: NotRequired[Sequence[Document]]
    anomaly: NotRequired[Document | None]
    organs: NotRequired[Document | None]
    attribution: Document
    series: Document
    quality: Sequence[Document]
    models: Sequence[Document]
    timings: Document
    disclaimer: str


def _drop_estimate(document: Document) -> Document:
    return {name: value for name, value in document.items() if name != "eta"}


def _parse_time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None
