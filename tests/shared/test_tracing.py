"""Traces: ids that are always there, parents that are kept, and nothing of an error but its kind."""

from __future__ import annotations

import json
import re

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import ProxyTracerProvider
from opentelemetry.trace import get_tracer_provider as get_provider

from shared.tracing import add_trace, current_traceparent, make_trace_headers, parse_trace_id, start_span

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
GIVEN = f"00-{TRACE}-{SPAN}-01"


class TestWithoutACollector:
    def test_a_span_has_a_new_trace(self) -> None:
        assert isinstance(get_provider(), ProxyTracerProvider)  # nothing is recorded in this process
        with start_span("one"):
            first = current_traceparent()
        with start_span("another"):
            second = current_traceparent()
        assert first != second
        assert re.fullmatch(r"00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}", first or "")
        assert current_traceparent() is None

    def test_a_trace_that_was_begun_elsewhere_goes_on(self) -> None:
        with start_span("one", traceparent=GIVEN):
            assert parse_trace_id(current_traceparent()) == TRACE
            with start_span("below"):
                assert make_trace_headers() == {"traceparent": GIVEN}
        assert make_trace_headers() == {}

    @pytest.mark.parametrize(
        "broken",
        [None, "", "00-1-2-3", f"ff-{TRACE}-{SPAN}-01", f"00-{'0' * 32}-{SPAN}-01", f"00-{TRACE}-{'0' * 16}-01"],
    )
    def test_what_is_no_traceparent_begins_a_new_trace(self, broken: str | None) -> None:
        assert parse_trace_id(broken) is None
        with start_span("one", traceparent=broken):
            assert parse_trace_id(current_traceparent()) not in {None, TRACE}

    def test_a_line_of_the_log_names_the_trace(self) -> None:
        with start_span("one", traceparent=GIVEN):
            assert add_trace(None, "", {"event": "x"}) == {"event": "x", "trace_id": TRACE, "span_id": SPAN}
        assert add_trace(None, "", {"event": "x"}) == {"event": "x"}


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> InMemorySpanExporter:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "get_tracer", provider.get_tracer)
    return exporter


def get_span_id(span: ReadableSpan) -> int:
    context = span.get_span_context()
    assert context is not None
    return context.span_id


def find(exporter: InMemorySpanExporter, name: str) -> ReadableSpan:
    return next(span for span in exporter.get_finished_spans() if span.name == name)


class TestWithACollector:
    def test_spans_stand_below_each_other_and_below_the_given_one(self, spans: InMemorySpanExporter) -> None:
        with start_span("above", traceparent=GIVEN), start_span("below"):
            pass
        above, below = find(spans, "above"), find(spans, "below")
        assert above.parent is not None
        assert below.parent is not None
        assert f"{above.parent.span_id:016x}" == SPAN
        assert (below.parent.span_id, f"{below.parent.trace_id:032x}") == (get_span_id(above), TRACE)

    def test_an_error_tells_its_kind_and_nothing_that_it_says(self, spans: InMemorySpanExporter) -> None:
        with pytest.raises(ValueError, match="Jane Doe"), start_span("one"):
            raise ValueError("Jane Doe has no slices")
        (span,) = spans.get_finished_spans()
        assert span.status.description == "ValueError"
        assert not span.events
        assert "Jane" not in json.dumps(json.loads(span.to_json()))

    def test_what_is_not_recorded_has_a_trace_all_the_same(self, spans: InMemorySpanExporter) -> None:
        with start_span("probe", is_recorded=False):
            assert current_traceparent() is not None
        assert not spans.get_finished_spans()
