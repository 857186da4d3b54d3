"""What intake answers: the same whether a stage or a person asked. JSON between the child and its parent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import TypeAdapter

from shared.json_values import JsonValue
from shared.problems import ProblemCode
from workers.intake.files import FileReport
from workers.intake.question import VoxelIndex

Facts = dict[str, Any]


@dataclass(frozen=True)
class ProblemReport:
    """Why the study was refused."""

    code: ProblemCode
    detail: str
    facts: Facts = field(default_factory=dict)


@dataclass(frozen=True)
class NoticeReport:
    """One warning."""

    code: str
    facts: Facts = field(default_factory=dict)


@dataclass(frozen=True)
class CandidateReport:
    """One stack that was considered, best first; `criteria` are 0..1 each, `score` their weighted mean."""

    series_instance_uid: str
    is_chosen: bool
    score: float
    criteria: dict[str, float]
    facts: Facts
    reason: str


@dataclass(frozen=True)
class ChosenSeries:
    """The series that was read, and its volume's geometry (LPS, mm)."""

    study_uid: str
    series_uid: str
    shape_zyx: tuple[int, int, int]
    spacing_zyx_mm: tuple[float, float, float]
    origin_lps_mm: tuple[float, float, float]
    row_direction: tuple[float, float, float]
    column_direction: tuple[float, float, float]
    facts: Facts


@dataclass(frozen=True)
class VoxelHu:
    """The HU of one voxel that was asked for."""

    zyx: VoxelIndex
    hu: int


@dataclass(frozen=True)
class HuStatistics:
    """Statistics over the volume as stored, padding included. `sha256_int16_zyx` is over little-endian int16."""

    min: int
    max: int
    mean: float
    padding_voxels: int
    sha256_int16_zyx: str | None = None
    voxels: tuple[VoxelHu, ...] = ()


@dataclass(frozen=True)
class IntakeReport:
    """Everything that intake found out. `problem` is None when the study was accepted.

    `chosen` and `hu` are also told of a refused study where the question wants that and a volume could be made.
    `volume_sha256` stands for voxels and geometry (`workers.volume.compute_content_digest`); None where none is kept.
    `patient_digest` is SHA-256 over what identifies the patient: to be made a pseudonym of, never to be kept as it is.
    """

    problem: ProblemReport | None
    files: tuple[FileReport, ...]
    candidates: tuple[CandidateReport, ...]
    notices: tuple[NoticeReport, ...]
    chosen: ChosenSeries | None
    hu: HuStatistics | None
    seconds: dict[str, float]
    choice_policy: str = ""
    study_uids: tuple[str, ...] = ()
    volume_sha256: str | None = None
    patient_digest: str | None = field(default=None, repr=False)

    @property
    def is_accepted(self) -> bool:
        """Whether a volume was made."""
        return self.problem is None


_ADAPTER = TypeAdapter(IntakeReport)


def to_document(report: IntakeReport) -> dict[str, JsonValue]:
    """Return a report as JSON values."""
    document: dict[str, JsonValue] = _ADAPTER.dump_python(report, mode="json")
    return document


def from_document(document: Mapping[str, Any]) -> IntakeReport:
    """Read what `to_document` wrote. Raises ValueError when it is anything else."""
    return _ADAPTER.validate_python(document)
