"""The seven fields that existing callers rely on. Nothing is added to them."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from shared.tables import Document


class PredictionBody(BaseModel):
    """The answer about a study."""

    model_config = ConfigDict(extra="ignore")

    study_uid: str
    series_uid: str
    probability_of_pathology: float = Field(ge=0, le=1)
    pathology: Literal[0, 1]
    most_dangerous_pathology_type: str
    processing_status: Literal["Success"]
    time_of_processing: float = Field(description="Seconds from acceptance to result.")


class FailureBody(BaseModel):
    """The answer when there is none."""

    study_uid: Literal[""] = ""
    series_uid: Literal[""] = ""
    probability_of_pathology: None = None
    pathology: None = None
    most_dangerous_pathology_type: None = None
    processing_status: Literal["Failure"] = "Failure"
    time_of_processing: float
    error: str


class DetailBody(BaseModel):
    """FastAPI's own manner of telling a wrong file name."""

    detail: str


def pick_prediction(document: Document) -> PredictionBody:
    """Return the seven fields of a result document."""
    return PredictionBody.model_validate(document)
