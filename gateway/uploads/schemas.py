"""Bodies of uploads in parts, and how they are made from rows."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field

from gateway.uploads.division import Division
from shared.upload_tables import Upload, UploadPart

_LARGEST_SIZE = 2**53 - 1  # a JSON number that every reader gets right


class UploadState(StrEnum):
    """How far an upload is."""

    OPEN = "open"
    COMPLETE = "complete"
    SUBMITTED = "submitted"


class CreateUploadBody(BaseModel):
    """A file that is to come."""

    model_config = ConfigDict(extra="forbid", strict=True)

    size_bytes: int = Field(ge=1, le=_LARGEST_SIZE, description="Size of the whole file.", examples=[734003200])
    sha256: str | None = Field(
        default=None,
        pattern=r"^[0-9a-fA-F]{64}$",
        description="SHA-256 of the whole file in hex; held against what came when the upload is completed.",
    )


class UploadBody(BaseModel):
    """An upload in parts."""

    id: uuid.UUID
    state: UploadState
    size_bytes: int
    part_size_bytes: int = Field(description="Size of every part but the last, which has the rest.")
    parts: int = Field(description="How many parts there are. They are numbered from 1 and may come in any order.")
    received_parts: list[int] = Field(description="Numbers of the parts that have come whole.")
    received_bytes: int
    announced_sha256: str | None = Field(description="SHA-256 that was announced; null where none was.")
    sha256: str | None = Field(description="SHA-256 of what came in hex; null until the upload is complete.")
    job_id: uuid.UUID | None = Field(description="The job that was made of it.")
    created_at: datetime
    expires_at: datetime = Field(description="The upload is removed then, unless a job was made of it.")


class UploadList(BaseModel):
    """All uploads that are no job yet, newest first."""

    items: list[UploadBody]
    next_cursor: str | None = None


class PartBody(BaseModel):
    """A part that has come whole."""

    number: int
    size_bytes: int
    sha256: str = Field(description="SHA-256 of the part in hex.")


def describe_part(part: UploadPart) -> PartBody:
    """Return the part as callers see it."""
    return PartBody(number=part.number, size_bytes=part.size_bytes, sha256=part.sha256)


def describe_upload(upload: Upload, parts: Sequence[UploadPart]) -> UploadBody:
    """Return the upload as callers see it. `parts` are those that were received; a whole upload has no other."""
    division = get_division(upload)
    is_whole = upload.sha256 is not None
    return UploadBody(
        id=upload.id,
        state=_judge_state(upload),
        size_bytes=upload.size_bytes,
        part_size_bytes=upload.part_size_bytes,
        parts=division.parts,
        received_parts=list(range(1, division.parts + 1)) if is_whole else sorted(part.number for part in parts),
        received_bytes=upload.size_bytes if is_whole else sum(part.size_bytes for part in parts),
        announced_sha256=upload.announced_sha256,
        sha256=upload.sha256,
        job_id=upload.job_id,
        created_at=upload.created_at,
        expires_at=upload.expires_at,
    )


def get_division(upload: Upload) -> Division:
    """Return how an upload is divided."""
    return Division(upload.size_bytes, upload.part_size_bytes)


def _judge_state(upload: Upload) -> UploadState:
    if upload.job_id is not None:
        return UploadState.SUBMITTED
    return UploadState.OPEN if upload.sha256 is None else UploadState.COMPLETE
