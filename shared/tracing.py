"""Traces: one id from the upload to the webhook, in answers, rows, messages and logs (W3C Trace Context).

The id is always there. Spans are recorded and exported only where `CTCLIP_TRACES_ENDPOINT` names a collector. A span
tells names of stages, codes, ids of jobs and counts; never the message of an error, which may quote a study.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.trace import NonRecordingSpan, Span, SpanContext, SpanKind, Status, StatusCode, TraceFlags
from structlog.typing import EventDict, WrappedLogger

from shared.settings import Settings

TRACEPARENT = "traceparent"
"""The header of W3C Trace Context, and the name of the column."""

_TRACEPARENT = re.compile(
    r"(?!ff)[0-9a-f]{2}-(?P<trace>(?!0{32})[0-9a-f]{32})-(?P<span>(?!0{16})[0-9a-f]{16})-(?P<flags>[0-9a-f]{2})"
)
_SCOPE = "ctclip"
_EXPORT_LIMIT_S = 5

Attributes = Mapping[str, str | int | float | bool]


def configure_tracing(settings: Settings, *, process: str) -> None:
    """Send the spans of this process to the collector of the settings; without one, record none."""
    if settings.traces_endpoint is None:
        return
    # Only here: half a second of imports that most processes do not need.
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415
    from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415

    provider = TracerProvider(resource=Resource({"service.name": f"{_SCOPE}-{process}", "service.namespace": _SCOPE}))
    exporter = OTLPSpanExporter(f"{settings.traces_endpoint.rstrip('/')}/v1/traces", timeout=_EXPORT_LIMIT_S)
    provider.add_span_processor(BatchSpanProcessor(exporter, schedule_delay_millis=1000))
    trace.set_tracer_provider(provider)


@contextmanager
def start_span(
    name: str,
    *,
    traceparent: str | None = None,
    kind: SpanKind = SpanKind.INTERNAL,
    attributes: Attributes | None = None,
    is_recorded: bool = True,
) -> Iterator[Span]:
    """Run a block in a span below `traceparent`, else below the current one, else at the root of a new trace.

    An error that leaves the block marks the span with its kind alone. What is not recorded has a trace id all the same.
    """
    parent = _read_context(traceparent) or trace.get_current_span().get_span_context()
    span = _make_span(name, parent, kind, attributes or {}) if is_recorded else NonRecordingSpan(parent)
    if not span.get_span_context().is_valid:
        span = _make_unrecorded_root()
    token = otel_context.attach(trace.set_span_in_context(span))
    try:
        yield span
    except BaseException as error:
        span.set_status(Status(StatusCode.ERROR, type(error).__name__))
        raise
    finally:
        otel_context.detach(token)
        span.end()


def current_traceparent() -> str | None:
    """Return the current span as W3C `traceparent`, to be kept in a row or sent in a header; None outside of any."""
    found = trace.get_current_span().get_span_context()
    if not found.is_valid:
        return None
    return f"00-{found.trace_id:032x}-{found.span_id:016x}-{found.trace_flags:02x}"


def make_trace_headers() -> dict[str, str]:
    """Return the header that carries the current trace to the next process; empty outside of any."""
    found = current_traceparent()
    return {} if found is None else {TRACEPARENT: found}


def parse_trace_id(traceparent: str | None) -> str | None:
    """Return the trace id in a W3C `traceparent`, or None where there is none."""
    match = _TRACEPARENT.fullmatch(traceparent or "")
    return match["trace"] if match else None


def add_trace(logger: WrappedLogger, name: str, event: EventDict) -> EventDict:
    """Write the current trace into a line of the log (a processor of structlog)."""
    del logger, name
    found = trace.get_current_span().get_span_context()
    if found.is_valid:
        event.setdefault("trace_id", f"{found.trace_id:032x}")
        event.setdefault("span_id", f"{found.span_id:016x}")
    return event


def _read_context(traceparent: str | None) -> SpanContext | None:
    match = _TRACEPARENT.fullmatch(traceparent or "")
    if match is None:
        return None
    flags = TraceFlags(int(match["flags"], 16))
    return SpanContext(int(match["trace"], 16), int(match["span"], 16), is_remote=True, trace_flags=flags)


def _make_span(name: str, parent: SpanContext, kind: SpanKind, attributes: Attributes) -> Span:
    above = trace.set_span_in_context(NonRecordingSpan(parent))
    return trace.get_tracer(_SCOPE).start_span(name, above, kind, dict(attributes), record_exception=False)


def _make_unrecorded_root() -> Span:
    return NonRecordingSpan(SpanContext(secrets.randbits(128) | 1, secrets.randbits(64) | 1, is_remote=False))
