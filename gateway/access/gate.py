"""The gate: every request is admitted before a byte of its body is read, and recorded before its answer leaves."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from http import HTTPStatus

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.access.authentication import Admission, Authenticator
from gateway.access.callers import LOCAL_CALLER, OPERATOR_TENANT, Caller
from gateway.access.errors import (
    AccessRefused,
    HostNotAllowed,
    InsufficientScope,
    OperatorRequired,
    TenantUploadsBusy,
)
from gateway.access.hosts import comes_from_elsewhere, is_own_name
from gateway.access.rules import AccessRules, GuardedRoute
from gateway.access.streams import AccessEnded, StreamWatch
from gateway.access.turns import UploadTurns
from gateway.deeds import PendingDeed, leaving
from gateway.problems.handlers import describe_fault
from gateway.problems.responses import make_problem_response
from gateway.resources import Resources
from gateway.tracing import get_trace_id
from shared.audit import Deed
from shared.errors import TransientFault
from shared.settings import Authentication
from shared.telemetry import get_logger

_log = get_logger()
_UNKNOWN = 0


class AccessGate:
    """ASGI middleware in front of the routes."""

    def __init__(self, app: ASGIApp, *, rules: AccessRules, resources: Resources) -> None:
        self._app = app
        self._rules = rules
        self._resources = resources
        self._authenticator = Authenticator(resources)
        settings = resources.settings
        self._turns = UploadTurns(settings.tenant_upload_concurrency, settings.tenant_upload_patience.total_seconds())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        strange = self._find_strange_header(scope) if scope["type"] == "http" else None
        if strange is not None:
            await make_problem_response(scope, HostNotAllowed(strange).problem)(scope, receive, send)
            return
        guarded = self._rules.find(scope) if scope["type"] == "http" else None
        if guarded is None or guarded.rule.is_open:  # where no route answers, nothing is to be had
            await self._app(scope, receive, send)
            return
        try:
            admission = await self._authenticator.admit(Headers(scope=scope), (scope.get("client") or ("",))[0])
        except AccessRefused as refusal:
            await _refuse(scope, receive, send, guarded, refusal)
        except TransientFault as fault:
            await _tell_fault(scope, receive, send, fault)
        else:
            watch = StreamWatch(self._authenticator, Headers(scope=scope), admission.caller)
            exchange = _Exchange(self._resources, guarded, admission, scope, send=send, watch=watch)
            await self._answer(scope, receive, exchange)

    def _find_strange_header(self, scope: Scope) -> str | None:
        settings, headers = self._resources.settings, Headers(scope=scope)
        if settings.authentication is Authentication.REQUIRED:  # a browser that is led astray has no key to send
            return None
        if not is_own_name(headers.getlist("host"), settings.gateway_names):
            return "Host"
        return "Origin" if comes_from_elsewhere(headers.getlist("origin"), settings.gateway_names) else None

    async def _answer(self, scope: Scope, receive: Receive, exchange: _Exchange) -> None:
        if exchange.caller is LOCAL_CALLER:  # one tenant alone has nobody to keep out
            await exchange.run(self._app, receive)
            return
        try:
            async with self._turns.take(exchange.caller.tenant, scope, receive) as receive_counted:
                await exchange.run(self._app, receive_counted)
        except TenantUploadsBusy as refusal:
            await exchange.refuse(receive, refusal)


class _Exchange:
    """One request of a known caller, and its answer."""

    def __init__(
        self,
        resources: Resources,
        guarded: GuardedRoute,
        admission: Admission,
        scope: Scope,
        *,
        send: Send,
        watch: StreamWatch,
    ) -> None:
        self._resources = resources
        self._guarded = guarded
        self._admission = admission
        self.caller = admission.caller
        self._scope = scope
        self._send = send
        self._watch = watch
        self._deed = PendingDeed(_describe_deed(self.caller, guarded, scope))
        self._is_replaced = False

    async def run(self, app: ASGIApp, receive: Receive) -> None:
        """Let the application answer, where the caller may ask this."""
        self._scope.setdefault("state", {})["caller"] = self.caller
        refusal = _judge(self.caller, self._guarded)
        if refusal is not None:
            await self.refuse(receive, refusal)
            return
        try:
            with leaving(self._deed) if self._guarded.rule.is_recorded else nullcontext():
                await app(self._scope, receive, self._forward)
        except* AccessEnded:
            await self._send({"type": "http.response.body", "body": b"", "more_body": False})

    async def refuse(self, receive: Receive, refusal: AccessRefused) -> None:
        """Answer with a refusal, told with what is left of the caller's allowance."""
        await _refuse(self._scope, receive, self._forward, self._guarded, refusal)

    async def _forward(self, message: Message) -> None:
        if self._is_replaced:
            return
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            headers.update(self._admission.headers)
            if not await self._record(message["status"], headers.get("location")):
                return
            self._watch.begin(headers)
        else:
            await self._watch.require_access()
        await self._send(message)

    async def _record(self, status: int, location: str | None) -> bool:
        """Record what was done; where that fails, answer with the fault instead and return False."""
        if not self._is_told(status):
            return True
        try:
            await self._resources.transact(lambda session: self._deed.write(session, status, location))
        except TransientFault as fault:
            if status >= HTTPStatus.INTERNAL_SERVER_ERROR:  # nothing was done, and the caller knows
                return True
            self._is_replaced = True
            await _tell_fault(self._scope, _read_nothing, self._send, fault)
            return False
        return True

    def _is_told(self, status: int) -> bool:
        """Say whether this answer is to leave an entry of its own. What was tried in vain does, too."""
        if status in {HTTPStatus.TOO_MANY_REQUESTS, self._deed.kept_status}:  # the latter stands beside its effect
            return False
        return self._guarded.rule.is_recorded or status == HTTPStatus.FORBIDDEN


def _judge(caller: Caller, guarded: GuardedRoute) -> AccessRefused | None:
    """Return why a caller may not ask this, or None when it may."""
    for needed in guarded.rule.scopes:
        if needed not in caller.scopes:
            return InsufficientScope(needed)
    return OperatorRequired() if guarded.rule.is_operators and caller.tenant != OPERATOR_TENANT else None


def _describe_deed(caller: Caller, guarded: GuardedRoute, scope: Scope) -> Deed:
    return Deed(
        tenant=caller.tenant,
        actor=caller.name,
        action=f"{scope['method']} {guarded.route.path}",
        target=str(scope["path"]),
        status=_UNKNOWN,
        trace_id=get_trace_id(scope) or "",
    )


async def _refuse(scope: Scope, receive: Receive, send: Send, guarded: GuardedRoute, refusal: AccessRefused) -> None:
    scope["route"] = guarded.route  # metrics name the route
    _log.info("refused", code=refusal.problem.code, route=guarded.route.path)
    headers: Mapping[str, str] = refusal.headers
    await make_problem_response(scope, refusal.problem, headers)(scope, receive, send)


async def _tell_fault(scope: Scope, receive: Receive, send: Send, fault: TransientFault) -> None:
    _log.warning("transient fault", code=fault.code, message=str(fault))
    await make_problem_response(scope, describe_fault(fault))(scope, receive, send)


async def _read_nothing() -> Message:
    return {"type": "http.disconnect"}
