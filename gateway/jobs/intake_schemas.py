"""Bodies of what reading an upload found."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, Field, computed_field

from gateway.problems.schemas import ProblemBody
from shared.file_codes import FileOutcome
from shared.states import StageState


class UploadFileBody(BaseModel):
    """What became of one file of the upload."""

    ordinal: int
    name: str | None = Field(description="Escaped and cut; null once it was forgotten with the upload.")
    size_bytes: int
    outcome: FileOutcome
    code: str | None = Field(description="Why it was ignored or rejected.")
    detail: str | None

    @computed_field(description="Page of the catalogue that explains the code.")  # type: ignore[prop-decorator]  # mypy
    @property
    def type(self) -> str | None:
        """Address of the page."""
        return None if self.code is None else f"/v1/file-codes/{self.code}"


class UploadFileCountBody(BaseModel):
    """How many files of the upload met with one fate."""

    outcome: FileOutcome
    code: str | None
    files: int


class SeriesCandidateBody(BaseModel):
    """One stack of slices that could have been read."""

    rank: int
    is_chosen: bool
    series_instance_uid: str
    score: float
    criteria: dict[str, Any]
    facts: dict[str, Any]
    reason: str


class ChosenSeriesBody(BaseModel):
    """The series that was read, and the geometry of its volume in LPS."""

    series_uid: str
    study_uid: str
    shape_zyx: list[int] = Field(description="Slices, rows, columns.")
    spacing_zyx_mm: list[float]
    origin_lps_mm: list[float] = Field(description="Centre of the first voxel.")
    row_direction: list[float] = Field(description="Direction in which the column index grows.")
    column_direction: list[float] = Field(description="Direction in which the row index grows.")
    facts: dict[str, Any] = {}


class HuBody(BaseModel):
    """Hounsfield units over the volume, padding included."""

    min: int
    max: int
    mean: float
    padding_voxels: int
    sha256_int16_zyx: str | None = Field(
        default=None, description="Digest of the volume as little-endian int16; told by validations."
    )


class IntakeBody(BaseModel):
    """What reading the upload found; `files` is one page of it."""

    job_id: uuid.UUID
    state: StageState
    patient: str | None = Field(description="Pseudonym of the patient; null where the study names none or several.")
    problem: ProblemBody | None
    chosen: ChosenSeriesBody | None = Field(description="Null where no volume was made.")
    hu: HuBody | None = Field(description="Null where no volume was made.")
    choice_policy: str | None = Field(description="Id of the rules that the series was chosen by.")
    candidates: list[SeriesCandidateBody] = Field(description="Best first; the chosen one is always among them.")
    candidates_found: int
    warnings: list[dict[str, Any]] = Field(description="`GET /v1/warnings/{code}` explains each code.")
    facts: dict[str, Any]
    file_counts: list[UploadFileCountBody] = Field(description="All files of the upload, counted.")
    files: list[UploadFileBody]
    next_cursor: str | None = Field(description="`cursor` of the next page of `files`.")


def split_facts(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return the members that the facts of intake fill: those with a body of their own, and `facts` for the rest."""
    own = ("chosen", "hu", "choice_policy")
    rest = {name: value for name, value in facts.items() if name not in own}
    return {**{name: facts.get(name) for name in own}, "facts": rest}
