"""Problems in the API description: each route names its codes, each code has the example of the catalogue."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from gateway.problems.responses import MEDIA_TYPE
from shared.problems import CATALOGUE, ProblemCode, make_example

SCHEMA = {"$ref": "#/components/schemas/ProblemBody"}

_ALWAYS = (ProblemCode.INTERNAL_ERROR,)
DEPENDENCIES = (ProblemCode.DATABASE_UNAVAILABLE, ProblemCode.STORAGE_UNAVAILABLE)
"""What may be unwell whenever a route touches rows or objects."""

JSON_PROBLEMS = (
    ProblemCode.MALFORMED_REQUEST,
    ProblemCode.UNSUPPORTED_MEDIA_TYPE,
    ProblemCode.UPLOAD_TOO_LARGE,
    ProblemCode.UPLOAD_INTERRUPTED,
)
"""Why a body is not read as JSON."""

SUBMISSION_PROBLEMS = (
    ProblemCode.EMPTY_UPLOAD,
    ProblemCode.NOT_AN_ARCHIVE,
    ProblemCode.UPLOAD_TOO_LARGE,
    ProblemCode.UPLOAD_INTERRUPTED,
    ProblemCode.CHECKSUM_MISMATCH,
    ProblemCode.MALFORMED_REQUEST,
    ProblemCode.VALIDATION_FAILED,
    ProblemCode.CALLBACK_URL_NOT_ALLOWED,
    ProblemCode.IDEMPOTENCY_KEY_INVALID,
    ProblemCode.IDEMPOTENCY_KEY_REUSED,
    ProblemCode.IDEMPOTENCY_KEY_IN_FLIGHT,
    ProblemCode.QUEUE_FULL,
    ProblemCode.TENANT_QUEUE_FULL,
    ProblemCode.TENANT_STORAGE_FULL,
    ProblemCode.NO_SPACE,
)
"""What may be wrong with a submission itself, before the study is read."""

Responses = dict[int | str, dict[str, Any]]


def document_problems(*codes: ProblemCode) -> Responses:
    """Return FastAPI's `responses` for the problems that a route may answer with, grouped by status."""
    by_status: defaultdict[int, list[ProblemCode]] = defaultdict(list)
    for code in (*codes, *_ALWAYS):
        by_status[CATALOGUE[code].status].append(code)
    return {status: _document_status(found) for status, found in sorted(by_status.items())}


def document_problem(code: ProblemCode) -> dict[str, Any]:
    """Return the description of an answer with one problem."""
    return _document_status([code])


def _document_status(codes: list[ProblemCode]) -> dict[str, Any]:
    examples = {str(code): {"summary": CATALOGUE[code].title, "value": make_example(code)} for code in codes}
    return {
        "description": "; ".join(f"`{code}`: {CATALOGUE[code].title}" for code in codes),
        "content": {MEDIA_TYPE: {"schema": SCHEMA, "examples": examples}},
    }
