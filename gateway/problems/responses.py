"""Problems as HTTP answers."""

from __future__ import annotations

import json
from collections.abc import Mapping

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import Scope

from gateway.tracing import get_trace_id
from shared.byte_units import MIB
from shared.metrics import PROBLEMS
from shared.problems import Problem, ProblemCode

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER_S = 5
"""When to come back after a fault of ours that may pass."""

_LONGEST_INSTANCE = 200
# An unread body up to this size is read and dropped, so that the connection can be used again.
_DROPPED_BYTES = MIB


def make_problem_response(scope: Scope, problem: Problem, headers: Mapping[str, str] | None = None) -> Response:
    """Return the answer that tells a problem."""
    PROBLEMS.labels(code=problem.code).inc()
    document = {
        **problem.to_document(),
        "instance": str(scope["path"])[:_LONGEST_INSTANCE],
        "trace_id": get_trace_id(scope),
    }
    status = problem.kind.status
    return Response(
        json.dumps(document),
        status_code=status,
        media_type=MEDIA_TYPE,
        headers={**_choose_headers(scope, problem), **(headers or {})},
    )


def mark_body_read(scope: Scope) -> None:
    """Note that the body was read to its end, so that an answer need not close the connection."""
    scope["state"]["body_read"] = True


def _choose_headers(scope: Scope, problem: Problem) -> dict[str, str]:
    headers = {"Cache-Control": "no-store"}
    if problem.kind.status in {503, 507}:
        headers["Retry-After"] = str(RETRY_AFTER_S)
    if problem.code is ProblemCode.UPLOAD_TOO_LARGE or leaves_a_long_body(scope):
        headers["Connection"] = "close"
    return headers


def leaves_a_long_body(scope: Scope) -> bool:
    """Say whether so much of the body is unread that the connection should rather be closed."""
    if scope["state"].get("body_read"):
        return False
    headers = Headers(scope=scope)
    length = headers.get("content-length", "")
    return "transfer-encoding" in headers or (length.isdecimal() and int(length) > _DROPPED_BYTES)
