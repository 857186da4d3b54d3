"""The trace of a request: taken from W3C `traceparent`, or made. It stands in every answer and every log line."""

from __future__ import annotations

import re
import uuid
from typing import Any

from starlette.datastructures import Headers

TRACE_HEADER = "X-Trace-Id"

_TRACEPARENT = re.compile(r"[0-9a-f]{2}-(?P<trace>[0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")
_NO_TRACE = "0" * 32


def choose_trace_id(headers: Headers) -> str:
    """Return the caller's trace id when it is well-formed, else a new one."""
    match = _TRACEPARENT.fullmatch(headers.get("traceparent", ""))
    if match and match["trace"] != _NO_TRACE:
        return match["trace"]
    return uuid.uuid4().hex


def get_trace_id(scope: Any) -> str:  # noqa: ANN401  # an ASGI scope
    """Return the trace id that the observer gave to a request."""
    trace_id: str = scope["state"]["trace_id"]
    return trace_id
