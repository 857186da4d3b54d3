"""Problems in the API description: each route names its codes, each code has an example."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from gateway.problems.responses import MEDIA_TYPE
from shared.json_values import JsonObject
from shared.problems import CATALOGUE, FieldError, Problem, ProblemCode

SCHEMA = {"$ref": "#/components/schemas/ProblemBody"}

_EXAMPLE_TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
_ALWAYS = (ProblemCode.INTERNAL_ERROR,)
DEPENDENCIES = (ProblemCode.DATABASE_UNAVAILABLE, ProblemCode.STORAGE_UNAVAILABLE)
"""What may be unwell whenever a route touches rows or objects."""

SUBMISSION_PROBLEMS = (
    ProblemCode.EMPTY_UPLOAD,
    ProblemCode.NOT_AN_ARCHIVE,
    ProblemCode.UPLOAD_TOO_LARGE,
    ProblemCode.UPLOAD_INTERRUPTED,
    ProblemCode.MALFORMED_REQUEST,
    ProblemCode.VALIDATION_FAILED,
    ProblemCode.IDEMPOTENCY_KEY_INVALID,
    ProblemCode.IDEMPOTENCY_KEY_REUSED,
    ProblemCode.IDEMPOTENCY_KEY_IN_FLIGHT,
)
"""What may be wrong with a submission itself, before the study is read."""

_FACTS: dict[ProblemCode, JsonObject] = {
    ProblemCode.UPLOAD_TOO_LARGE: {"limit_bytes": 4294967296},
    ProblemCode.JOB_HAS_NO_RESULT: {
        "job_state": "rejected",
        "job_problem": Problem(
            ProblemCode.NO_DICOM_IMAGES, "Three files were read; none is a DICOM image."
        ).to_document(),
    },
    ProblemCode.NOT_READY: {"checks": {"database": "ok", "schema": "ok", "storage": "storage_unavailable"}},
}
_ERRORS = {ProblemCode.VALIDATION_FAILED: (FieldError("/priority", "Input should be less than or equal to 9"),)}

Responses = dict[int | str, dict[str, Any]]


def document_problems(*codes: ProblemCode) -> Responses:
    """Return FastAPI's `responses` for the problems that a route may answer with, grouped by status."""
    by_status: defaultdict[int, list[ProblemCode]] = defaultdict(list)
    for code in (*codes, *_ALWAYS):
        by_status[CATALOGUE[code].status].append(code)
    return {status: _document_status(found) for status, found in sorted(by_status.items())}


def make_example(code: ProblemCode) -> dict[str, Any]:
    """Return a problem as a caller would see it."""
    problem = Problem(code, f"{CATALOGUE[code].title}.", _FACTS.get(code, {}), _ERRORS.get(code, ()))
    return {**problem.to_document(), "instance": "/v1/jobs", "trace_id": _EXAMPLE_TRACE}


def document_problem(code: ProblemCode) -> dict[str, Any]:
    """Return the description of an answer with one problem."""
    return _document_status([code])


def _document_status(codes: list[ProblemCode]) -> dict[str, Any]:
    examples = {str(code): {"summary": CATALOGUE[code].title, "value": make_example(code)} for code in codes}
    return {
        "description": "; ".join(f"`{code}`: {CATALOGUE[code].title}" for code in codes),
        "content": {MEDIA_TYPE: {"schema": SCHEMA, "examples": examples}},
    }
