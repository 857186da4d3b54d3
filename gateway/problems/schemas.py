"""Bodies of problem answers."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from shared.file_codes import FileCode, FileOutcome
from shared.notices import NoticeCode
from shared.problems import ProblemCode


class FieldErrorBody(BaseModel):
    """One wrong field."""

    pointer: str = Field(description="JSON Pointer (RFC 6901) to the field.")
    message: str = Field(description="What is wrong with it.")


class ProblemBody(BaseModel):
    """One occurrence of a problem (RFC 9457). Some codes carry more members, such as `limit_bytes`."""

    model_config = ConfigDict(extra="allow")

    type: str = Field(description="Page of the catalogue.")
    title: str
    status: int
    detail: str = Field(description="What was found, what was expected and where.")
    advice: str | None = Field(default=None, description="What to do, as the catalogue says.")
    instance: str = Field(description="The address that was asked.")
    code: ProblemCode
    errors: list[FieldErrorBody] = []
    trace_id: str | None = Field(description="Tell it to the operator; logs carry it.")


class ProblemKindBody(BaseModel):
    """One entry of the catalogue of problems."""

    type: str = Field(description="Page of the catalogue: this one.")
    code: ProblemCode
    title: str
    status: int = Field(description="HTTP status of the answer, where the code is an HTTP answer.")
    cause: str = Field(description="What was found.")
    advice: str = Field(description="What to do.")
    example: dict[str, Any] = Field(description="A problem of this code as it is really answered.")
    related: list[ProblemCode] = Field(description="Codes that are easily taken for this one.")


class ProblemKindList(BaseModel):
    """The whole catalogue of problems."""

    items: list[ProblemKindBody]
    next_cursor: str | None = None


class FileKindBody(BaseModel):
    """What a code of a file means."""

    type: str = Field(description="Page of the catalogue: this one.")
    code: FileCode
    outcome: FileOutcome
    meaning: str
    advice: str = Field(description="What to do.")


class FileKindList(BaseModel):
    """All codes of files."""

    items: list[FileKindBody]
    next_cursor: str | None = None


class NoticeKindBody(BaseModel):
    """What a warning means."""

    type: str = Field(description="Page of the catalogue: this one.")
    code: NoticeCode
    meaning: str
    advice: str = Field(description="What to do.")


class NoticeKindList(BaseModel):
    """All warnings."""

    items: list[NoticeKindBody]
    next_cursor: str | None = None
