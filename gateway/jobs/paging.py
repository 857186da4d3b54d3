"""Cursors: opaque to callers, the place of the last job to us. Pure."""

from __future__ import annotations

import base64
import binascii
import uuid
from collections.abc import Sequence
from datetime import datetime

from gateway.jobs.repository import PagePosition
from gateway.jobs.schemas import JobRecord
from gateway.problems.handlers import InvalidFields
from shared.problems import FieldError


def make_cursor(page: Sequence[JobRecord]) -> str:
    """Return the cursor that leads behind the last job of a page."""
    last = page[-1].job
    return base64.urlsafe_b64encode(f"{last.created_at.isoformat()} {last.id}".encode()).decode().rstrip("=")


def parse_cursor(cursor: str) -> PagePosition:
    """Return the place that a cursor stands for. Raises InvalidFields."""
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        created_at, job_id = base64.b64decode(padded, altchars=b"-_", validate=True).decode("ascii").split(" ")
        return PagePosition(_parse_time(created_at), uuid.UUID(job_id))
    except (binascii.Error, ValueError) as error:
        raise InvalidFields(FieldError("/cursor", "Not a cursor that a list was answered with")) from error


def _parse_time(text: str) -> datetime:
    time = datetime.fromisoformat(text)
    if time.tzinfo is None:
        raise ValueError("a cursor's time has a zone")
    return time
