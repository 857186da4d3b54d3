"""The trace of a request: the caller's by W3C `traceparent`, or a new one. It stands in answers and logs."""

from __future__ import annotations

from typing import Any

TRACE_HEADER = "X-Trace-Id"


def get_trace_id(scope: Any) -> str:  # noqa: ANN401  # an ASGI scope
    """Return the trace id that the observer gave to a request."""
    trace_id: str = scope["state"]["trace_id"]
    return trace_id
