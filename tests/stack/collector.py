"""A collector of traces as OpenTelemetry defines it (OTLP over HTTP), that keeps what it is sent."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from tests.loopback import running


@dataclass(frozen=True)
class CollectedSpan:
    """One span; ids in hexadecimal, `parent_id` empty at the root."""

    trace_id: str
    id: str
    parent_id: str
    name: str
    service: str
    attributes: Mapping[str, str]


@dataclass
class Collector:
    """What came."""

    url: str
    raw: list[bytes] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, body: bytes) -> None:
        """Keep one export."""
        with self._lock:
            self.raw.append(body)

    def find(self, trace_id: str) -> list[CollectedSpan]:
        """Return the spans of one trace that have come so far."""
        with self._lock:
            return [span for body in self.raw for span in _iterate_spans(body) if span.trace_id == trace_id]


def _iterate_spans(body: bytes) -> Iterator[CollectedSpan]:
    request = ExportTraceServiceRequest.FromString(body)
    for resource in request.resource_spans:
        facts = {fact.key: fact.value.string_value for fact in resource.resource.attributes}
        for scope in resource.scope_spans:
            for span in scope.spans:
                yield CollectedSpan(
                    trace_id=span.trace_id.hex(),
                    id=span.span_id.hex(),
                    parent_id=span.parent_span_id.hex(),
                    name=span.name,
                    service=facts["service.name"],
                    attributes={fact.key: fact.value.string_value for fact in span.attributes},
                )


@contextmanager
def running_collector() -> Iterator[Collector]:
    """Run a collector on loopback while the block runs."""
    collector = Collector("")

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            is_packed = self.headers.get("Content-Encoding") == "gzip"
            collector.add(gzip.decompress(body) if is_packed else body)
            answer = ExportTraceServiceResponse().SerializeToString()
            self.send_response(200)
            self.send_header("Content-Type", "application/x-protobuf")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *arguments: object) -> None:
            pass

    with running(ThreadingHTTPServer(("127.0.0.1", 0), Handler)) as url:
        collector.url = url
        yield collector
