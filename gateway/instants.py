"""Times in requests: a text as RFC 3339 has it, with its offset, and no number that could be anything."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Annotated

from pydantic import AfterValidator, AwareDatetime, BeforeValidator

_WRITTEN = re.compile(r"\d{4}-\d{2}-\d{2}[Tt ]\d{2}:\d{2}:\d{2}(\.\d+)?([Zz]|[+-]\d{2}:\d{2})", re.ASCII)


def _require_text(value: object) -> object:
    if isinstance(value, datetime) or (isinstance(value, str) and _WRITTEN.fullmatch(value)):
        return value
    raise ValueError("Expected a time with its offset, such as 2026-03-01T10:00:00Z")


def _turn_to_utc(value: datetime) -> datetime:
    """Return the moment in UTC: PostgreSQL refuses offsets of sixteen hours and more."""
    try:
        return value.astimezone(UTC)
    except OverflowError as error:
        raise ValueError("Expected a time between the years 1 and 9999") from error


Instant = Annotated[AwareDatetime, BeforeValidator(_require_text), AfterValidator(_turn_to_utc)]
"""A moment, as `date-time` of JSON Schema has it."""
