"""Options of a submission, parsed from query and form fields. Pure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator

from gateway.jobs.labels import MOST_LABELS, LabelName, LabelValue, parse_labels
from gateway.problems.handlers import InvalidFields, make_pointer, say_what_is_wrong
from shared.callback_urls import LONGEST_URL
from shared.problems import FieldError
from shared.stages import MODELS, StageName

LOWEST_PRIORITY, DEFAULT_PRIORITY, HIGHEST_PRIORITY = 0, 5, 9
UID_PATTERN = r"^[0-9]+(\.[0-9]+)*$"
LONGEST_UID = 64
POLICY_PATTERN = r"^[a-z][a-z0-9_]*$"
LONGEST_POLICY = 64


class SubmissionOptions(BaseModel):
    """What a caller may ask of a job. `split` stands before what cannot be combined with it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    priority: int = Field(default=DEFAULT_PRIORITY, ge=LOWEST_PRIORITY, le=HIGHEST_PRIORITY)
    split: bool = False
    series_instance_uid: str | None = Field(default=None, pattern=UID_PATTERN, max_length=LONGEST_UID)
    models: tuple[StageName, ...] | None = None
    policy: str | None = Field(default=None, pattern=POLICY_PATTERN, max_length=LONGEST_POLICY)
    validate_only: bool = False
    reuse: bool = True
    callback_url: str | None = Field(default=None, max_length=LONGEST_URL)
    labels: dict[LabelName, LabelValue] = Field(default={}, max_length=MOST_LABELS)

    @field_validator("series_instance_uid")
    @classmethod
    def _refuse_with_split(cls, value: str | None, found: ValidationInfo) -> str | None:
        if value is not None and found.data.get("split"):
            raise ValueError("Cannot be combined with split: a series belongs to one study")
        return value

    @field_validator("models", mode="before")
    @classmethod
    def _name_models(cls, value: object) -> object:
        if value is None:
            return None
        if not isinstance(value, list | tuple) or not all(isinstance(name, str) for name in value):
            raise ValueError("Expected a list of names")
        names = tuple(dict.fromkeys(name.strip() for name in value))
        if not names or any(name not in MODELS for name in names):
            raise ValueError(f"Expected one or more of {', '.join(MODELS)}")
        return names


class _WrittenOptions(SubmissionOptions):
    """The same as a query and a form carry them: all of them texts, names with commas between them."""

    @field_validator("models", mode="before")
    @classmethod
    def _split_models(cls, value: str) -> list[str]:
        return value.split(",")

    @field_validator("labels", mode="before")
    @classmethod
    def _split_labels(cls, value: str) -> object:
        return parse_labels(value)


CALLBACK_FIELD = "callback_url"

OPTION_FIELDS = frozenset(SubmissionOptions.model_fields)

ANSWERED_OPTIONS = OPTION_FIELDS - {"split", "validate_only", CALLBACK_FIELD}
"""Options of a job that ends with a result, for a caller who waits for it."""


@dataclass(frozen=True)
class JobRequest:
    """What a job is planned from. `upload_name` only where identifiers are made of it: it may name the patient."""

    options: SubmissionOptions
    upload_name: str | None = None

    def to_document(self) -> dict[str, object]:
        """Return what the stages of the job may read."""
        options = self.options.model_dump(mode="json", exclude={"priority", "labels"}, exclude_defaults=True)
        return options if self.upload_name is None else {**options, "upload_name": self.upload_name}

    def digest_with(self, body_sha256: str) -> str:
        """Return the digest of the whole payload: the same digest means the same request."""
        payload: dict[str, object] = {
            "body": body_sha256,
            "priority": self.options.priority,
            "options": self.to_document(),
        }
        if self.options.labels:
            payload["labels"] = self.options.labels
        return hashlib.sha256(json.dumps(payload, sort_keys=True).encode()).hexdigest()


def parse_options(*sources: Iterable[tuple[str, str]], allowed: Collection[str] = OPTION_FIELDS) -> SubmissionOptions:
    """Return the options that stand in the query and the form together. Raises InvalidFields."""
    found: dict[str, str] = {}
    for name, value in (pair for source in sources for pair in source):
        if name in found:
            raise InvalidFields(FieldError(make_pointer([name]), "Sent more than once"))
        found[name] = value
    unknown = [FieldError(make_pointer([name]), "Unknown field") for name in found if name not in allowed]
    if unknown:
        raise InvalidFields(*unknown)
    return _validate(found)


def _validate(found: Mapping[str, str]) -> SubmissionOptions:
    try:
        return _WrittenOptions.model_validate(found)
    except ValidationError as error:
        raise name_wrong_fields(error) from error


def name_wrong_fields(error: ValidationError) -> InvalidFields:
    """Return pydantic's findings as the problem that names each field."""
    fields = [
        FieldError(make_pointer(detail["loc"]), say_what_is_wrong(detail["type"], detail["msg"]))
        for detail in error.errors(include_url=False, include_input=False)
    ]
    return InvalidFields(*fields)
