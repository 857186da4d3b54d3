"""The gate: every request is admitted before a byte of its body is read, and recorded before its answer leaves."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus

from sqlalchemy.orm import Session
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.access.authentication import Admission, Authenticator
from gateway.access.callers import LOCAL_CALLER, Caller
from gateway.access.errors import AccessRefused, InsufficientScope, TenantUploadsBusy
from gateway.access.rules import AccessRules, GuardedRoute
from gateway.access.turns import UploadTurns
from gateway.problems.handlers import describe_fault
from gateway.problems.responses import make_problem_response
from gateway.resources import Resources
from gateway.tracing import get_trace_id
from shared.audit import Deed, record
from shared.errors import TransientFault
from shared.telemetry import get_logger

_log = get_logger()
_LONGEST_TARGET = 200


class AccessGate:
    """ASGI middleware in front of the routes."""

    def __init__(self, app: ASGIApp, *, rules: AccessRules, resources: Resources) -> None:
        self._app = app
        self._rules = rules
        self._resources = resources
        self._authenticator = Authenticator(resources)
        self._turns = UploadTurns(resources.settings.tenant_upload_concurrency)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        guarded = self._rules.find(scope) if scope["type"] == "http" else None
        if guarded is None or guarded.rule.is_open:  # where no route answers, nothing is to be had
            await self._app(scope, receive, send)
            return
        try:
            admission = await self._authenticator.admit(Headers(scope=scope))
        except AccessRefused as refusal:
            await _refuse(scope, receive, send, guarded, refusal)
        except TransientFault as fault:
            await _tell_fault(scope, receive, send, fault)
        else:
            await self._answer(scope, receive, _Exchange(self._resources, guarded, admission, scope, send))

    async def _answer(self, scope: Scope, receive: Receive, exchange: _Exchange) -> None:
        if exchange.caller is LOCAL_CALLER:  # one tenant alone has nobody to keep out
            await exchange.run(self._app, receive)
            return
        try:
            with self._turns.take(exchange.caller.tenant, scope, receive) as receive_counted:
                await exchange.run(self._app, receive_counted)
        except TenantUploadsBusy as refusal:
            await exchange.refuse(receive, refusal)


class _Exchange:
    """One request of a known caller, and its answer."""

    def __init__(
        self, resources: Resources, guarded: GuardedRoute, admission: Admission, scope: Scope, send: Send
    ) -> None:
        self._resources = resources
        self._guarded = guarded
        self._admission = admission
        self.caller = admission.caller
        self._scope = scope
        self._send = send
        self._is_replaced = False

    async def run(self, app: ASGIApp, receive: Receive) -> None:
        """Let the application answer, where the caller may ask this."""
        needed = self._guarded.rule.scope
        self._scope.setdefault("state", {})["caller"] = self.caller
        if needed is not None and needed not in self.caller.scopes:
            await self.refuse(receive, InsufficientScope(needed))
            return
        await app(self._scope, receive, self._forward)

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
        await self._send(message)

    async def _record(self, status: int, location: str | None) -> bool:
        """Record what was done; where that fails, answer with the fault instead and return False."""
        if status == HTTPStatus.TOO_MANY_REQUESTS or not (
            self._guarded.rule.is_recorded or status == HTTPStatus.FORBIDDEN
        ):  # what was tried in vain is told too
            return True
        deed = _describe_deed(self.caller, self._guarded, self._scope, status, location)
        try:
            await self._resources.transact(lambda session: _write(session, deed))
        except TransientFault as fault:
            if status >= HTTPStatus.INTERNAL_SERVER_ERROR:  # nothing was done, and the caller knows
                return True
            self._is_replaced = True
            await _tell_fault(self._scope, _read_nothing, self._send, fault)
            return False
        return True


def _write(session: Session, deed: Deed) -> None:
    record(session, deed)


def _describe_deed(caller: Caller, guarded: GuardedRoute, scope: Scope, status: int, location: str | None) -> Deed:
    return Deed(
        tenant=caller.tenant,
        actor=caller.name,
        action=f"{scope['method']} {guarded.route.path}",
        target=_make_storable(location or str(scope["path"]))[:_LONGEST_TARGET],
        status=status,
        trace_id=get_trace_id(scope) or "",
    )


def _make_storable(target: str) -> str:
    """Return an address without what a database or a terminal chokes on: a caller may ask for `%00`."""
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in target)


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
