"""The outer layer of the application: trace id, duration, and the last word on what nobody foresaw."""

from __future__ import annotations

import time
import traceback

from opentelemetry.trace import Span, SpanKind
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.problems.responses import make_problem_response
from gateway.tracing import TRACE_HEADER
from shared.metrics import REQUEST_SECONDS
from shared.problems import Problem, ProblemCode
from shared.telemetry import get_logger
from shared.tracing import TRACEPARENT, start_span

_log = get_logger()
_METHODS = frozenset({"GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH"})
_CLIENT_GONE = 499  # nginx's number: nobody was left to answer
_FRAMES_KEPT = 20
_PROBES = frozenset({"/health", "/livez", "/readyz", "/metrics"})  # asked every few seconds: no trace is made of it
_TWO_LENGTHS = Problem(ProblemCode.MALFORMED_REQUEST, "A body has a Content-Length or a Transfer-Encoding, not both.")
_OUR_BUG = Problem(ProblemCode.INTERNAL_ERROR, "Something happened here that we did not foresee. It was recorded.")


class RequestObserver:
    """ASGI middleware around everything."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        traceparent = Headers(scope=scope).get(TRACEPARENT)
        is_recorded = scope["path"] not in _PROBES
        with start_span("request", traceparent=traceparent, kind=SpanKind.SERVER, is_recorded=is_recorded) as span:
            trace_id = f"{span.get_span_context().trace_id:032x}"
            scope.setdefault("state", {})["trace_id"] = trace_id
            exchange = _Exchange(scope, send, trace_id)
            try:
                await exchange.run(self._app, receive)
            finally:
                _describe(span, scope, exchange.status)


class _Exchange:
    """One request and its answer."""

    def __init__(self, scope: Scope, send: Send, trace_id: str) -> None:
        self._scope = scope
        self._send = send
        self._trace_id = trace_id
        self.status: int | None = None

    async def run(self, app: ASGIApp, receive: Receive) -> None:
        started = time.perf_counter()
        try:
            await (_refuse_two_lengths if _has_two_lengths(self._scope) else app)(self._scope, receive, self._forward)
        except ClientDisconnect:
            self.status = self.status or _CLIENT_GONE
        except Exception as error:  # noqa: BLE001  # process edge: recorded with the trace id, answered without a word of it
            await self._answer_bug(error, receive)
        finally:
            labels = (_name_method(self._scope), _name_route(self._scope), str(self.status))
            REQUEST_SECONDS.labels(*labels).observe(time.perf_counter() - started)

    async def _forward(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            MutableHeaders(scope=message)[TRACE_HEADER] = self._trace_id
        await self._send(message)

    async def _answer_bug(self, error: Exception, receive: Receive) -> None:
        # A foreign message may quote the request, so only its kind and its place are logged.
        frames = [
            f"{frame.filename}:{frame.lineno} {frame.name}" for frame in traceback.extract_tb(error.__traceback__)
        ]
        kind = f"{type(error).__module__}.{type(error).__qualname__}"
        event = "defect" if self.status is None else "answer broke off"
        _log.error(event, error=kind, frames=frames[-_FRAMES_KEPT:], route=_name_route(self._scope))
        if self.status is not None:
            raise error  # half an answer is out; the server must cut the connection
        response = make_problem_response(self._scope, _OUR_BUG)
        await response(self._scope, receive, self._forward)


def _has_two_lengths(scope: Scope) -> bool:
    headers = Headers(scope=scope)
    return "transfer-encoding" in headers and "content-length" in headers


async def _refuse_two_lengths(scope: Scope, receive: Receive, send: Send) -> None:
    """Refuse a body that ends in one place for us and in another for a proxy (RFC 9112, 6.1)."""
    response = make_problem_response(scope, _TWO_LENGTHS, {"Connection": "close"})
    await response(scope, receive, send)


def _describe(span: Span, scope: Scope, status: int | None) -> None:
    """Name a span by its route: a path may hold ids, and a query whatever a caller writes."""
    method, route = _name_method(scope), _name_route(scope)
    span.update_name(f"{method} {route}")
    span.set_attributes({"http.request.method": method, "http.route": route, "http.response.status_code": status or 0})


def _name_method(scope: Scope) -> str:
    method = str(scope["method"])
    return method if method in _METHODS else "other"


def _name_route(scope: Scope) -> str:
    """Return the route's template, never the path: labels are bounded."""
    return getattr(scope.get("route"), "path", "none")
