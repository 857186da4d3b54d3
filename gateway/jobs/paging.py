"""Cursors: opaque to callers, the place of the last item of a page to us. Pure."""

from __future__ import annotations

import base64
import binascii
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime

from gateway.jobs.repository import PagePosition
from gateway.jobs.schemas import JobRecord
from gateway.problems.handlers import InvalidFields
from shared.problems import FieldError

_LARGEST_ORDINAL = 2**31 - 1
_LARGEST_PLACE = 2**63 - 1


def make_cursor(page: Sequence[JobRecord]) -> str:
    """Return the cursor that leads behind the last job of a page."""
    last = page[-1].job
    return _encode(f"{last.created_at.isoformat()} {last.id}")


def parse_cursor(cursor: str) -> PagePosition:
    """Return the place that a cursor stands for. Raises InvalidFields."""
    try:
        created_at, job_id = _decode(cursor).split(" ")
        return PagePosition(_parse_time(created_at), uuid.UUID(job_id))
    except (binascii.Error, ValueError, OverflowError) as error:
        raise _not_a_cursor() from error


def make_place_cursor(place: int) -> str:
    """Return the cursor that leads behind a place of a list."""
    return _encode(f"p{place}")


def parse_place_cursor(cursor: str) -> int:
    """Return the place that a cursor leads behind. Raises InvalidFields."""
    try:
        place = int(_decode(cursor).removeprefix("p"))
    except (binascii.Error, ValueError) as error:
        raise _not_a_cursor() from error
    if not 0 <= place <= _LARGEST_PLACE:
        raise _not_a_cursor()
    return place


def make_file_cursor(ordinal: int) -> str:
    """Return the cursor that leads behind a file."""
    return _encode(str(ordinal))


def parse_file_cursor(cursor: str) -> int:
    """Return the ordinal of the file that a cursor leads behind. Raises InvalidFields."""
    try:
        ordinal = int(_decode(cursor))
    except (binascii.Error, ValueError) as error:
        raise _not_a_cursor() from error
    if not 0 <= ordinal <= _LARGEST_ORDINAL:
        raise _not_a_cursor()
    return ordinal


def _encode(place: str) -> str:
    return base64.urlsafe_b64encode(place.encode()).decode().rstrip("=")


def _decode(cursor: str) -> str:
    padded = cursor + "=" * (-len(cursor) % 4)
    return base64.b64decode(padded, altchars=b"-_", validate=True).decode("ascii")


def _not_a_cursor() -> InvalidFields:
    return InvalidFields(FieldError("/cursor", "Not a cursor that a list was answered with"))


def _parse_time(text: str) -> datetime:
    time = datetime.fromisoformat(text)
    if time.tzinfo is None:
        raise ValueError("a cursor's time has a zone")
    return time.astimezone(UTC)  # PostgreSQL refuses offsets that Python reads
