"""The result of one study as objects. Reading is tolerant: what is missing is empty, what is added in `document`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

from client.documents import Document, ResultDocument


@dataclass(frozen=True)
class FindingResult:
    """One finding: each model's probability and own threshold, and how far it moved the score (log-odds)."""

    finding: str
    name: str
    organ: str | None
    probabilities: Mapping[str, float]
    thresholds: Mapping[str, float]
    attribution: float | None
    is_above_threshold: bool | None
    document: Document

    @classmethod
    def parse(cls, document: Document) -> FindingResult:
        """Read one entry of `findings`. Raises KeyError when it is none."""
        return cls(
            finding=str(document["finding"]),
            name=str(document.get("name", document["finding"])),
            organ=document.get("organ"),
            probabilities=document.get("models") or {},
            thresholds=document.get("thresholds") or {},
            attribution=document.get("attribution"),
            is_above_threshold=document.get("above_threshold"),
            document=document,
        )


@dataclass(frozen=True)
class ModelResult:
    """A model that answered, by which weights (SHA-256), in how many seconds."""

    name: str
    version: str | None
    digest: str | None
    seconds: float | None

    @classmethod
    def parse(cls, document: Document) -> ModelResult:
        """Read one entry of `models`. Raises KeyError when it is none."""
        return cls(str(document["name"]), document.get("version"), document.get("digest"), document.get("seconds"))


@dataclass(frozen=True)
class MissingResult:
    """A model that did not answer, and why."""

    model: str
    reason: str


@dataclass(frozen=True)
class QualityNote:
    """What was odd about the study, with the facts of it."""

    code: str
    facts: Document


@dataclass(frozen=True)
class ArtifactLink:
    """Something else that can be fetched of the job: `Client.download`."""

    name: str
    media_type: str
    size_bytes: int
    sha256: str
    href: str

    @classmethod
    def parse(cls, document: Document) -> ArtifactLink:
        """Read one entry of `artifacts`. Raises KeyError when it is none."""
        return cls(
            name=str(document["name"]),
            media_type=str(document["media_type"]),
            size_bytes=int(document["size_bytes"]),
            sha256=str(document["sha256"]),
            href=str(document["href"]),
        )


@dataclass(frozen=True)
class StudyResult:
    """The result of one study. `document` holds every field as it came.

    `time_of_processing` is in seconds; `attribution` of findings in log-odds.
    """

    job_id: str
    state: str
    study_uid: str
    series_uid: str
    probability_of_pathology: float
    pathology: int
    most_dangerous_pathology_type: str
    processing_status: str
    time_of_processing: float
    threshold: float | None
    policy_id: str | None
    weights_profile: str | None
    answered: int
    expected: int
    missing: Sequence[MissingResult]
    findings: Sequence[FindingResult]
    models: Sequence[ModelResult]
    quality: Sequence[QualityNote]
    artifacts: Sequence[ArtifactLink]
    disclaimer: str
    document: ResultDocument

    @property
    def is_complete(self) -> bool:
        """Whether every model answered."""
        return not self.missing

    @classmethod
    def parse(cls, document: Document) -> StudyResult:
        """Read a result document. Raises KeyError, TypeError or ValueError when it is none."""
        completeness = document.get("completeness") or {}
        return cls(
            study_uid=str(document["study_uid"]),
            series_uid=str(document["series_uid"]),
            probability_of_pathology=float(document["probability_of_pathology"]),
            pathology=int(document["pathology"]),
            most_dangerous_pathology_type=str(document["most_dangerous_pathology_type"]),
            processing_status=str(document["processing_status"]),
            time_of_processing=float(document["time_of_processing"]),
            job_id=str(document.get("job_id", "")),
            state=str(document.get("state", "")),
            threshold=document.get("threshold"),
            policy_id=document.get("policy_id"),
            weights_profile=document.get("weights_profile"),
            answered=int(completeness.get("answered", 0)),
            expected=int(completeness.get("expected", 0)),
            missing=tuple(
                MissingResult(str(one["model"]), str(one["reason"])) for one in completeness.get("missing", ())
            ),
            findings=tuple(FindingResult.parse(one) for one in document.get("findings", ())),
            models=tuple(ModelResult.parse(one) for one in document.get("models", ())),
            quality=tuple(QualityNote(str(one["code"]), one.get("facts") or {}) for one in document.get("quality", ())),
            artifacts=tuple(ArtifactLink.parse(one) for one in document.get("artifacts", ())),
            disclaimer=str(document.get("disclaimer", "")),
            document=cast("ResultDocument", document),
        )
