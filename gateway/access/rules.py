"""Which scope a route needs: said once for each router, and for single routes where they differ."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from fastapi import APIRouter
from fastapi.routing import APIRoute
from starlette.routing import Match
from starlette.types import Scope as ConnectionScope

from gateway.access.scopes import Scope

_READS = frozenset({"GET", "HEAD", "OPTIONS"})


@dataclass(frozen=True)
class Rule:
    """What is asked of the caller of a route: every one of `scopes`; without any, to be known. Open: nothing at all.

    `is_operators`: only callers of the installation's own tenant. A recorded route leaves an entry in the log of what
    was done; whatever is not a read does.
    """

    scopes: tuple[Scope, ...] = ()
    is_open: bool = False
    is_recorded: bool = False
    is_operators: bool = False


@dataclass(frozen=True)
class RouterRules:
    """The rules of one router: for what reads, for what changes, and for single paths."""

    reading: Rule
    changing: Rule
    of_paths: Mapping[str, Rule] = field(default_factory=dict)

    def choose(self, path: str, method: str) -> Rule:
        """Return the rule of one route."""
        return self.of_paths.get(path) or (self.reading if method in _READS else self.changing)


OPEN = Rule(is_open=True)
KNOWN = Rule()
ADMIN = Rule((Scope.ADMIN,))
MONITORING = Rule((Scope.METRICS,), is_operators=True)
RECORDED_ADMIN = Rule((Scope.ADMIN,), is_recorded=True)
RECORDED_READ = Rule((Scope.JOBS_READ,), is_recorded=True)

OF_JOBS = RouterRules(Rule((Scope.JOBS_READ,)), Rule((Scope.JOBS_WRITE,), is_recorded=True))
OF_COMPATIBLE = RouterRules(
    OF_JOBS.reading,
    Rule((Scope.JOBS_WRITE, Scope.JOBS_READ), is_recorded=True),  # they submit, and hand the result out
)
OF_UPLOADS = RouterRules(
    Rule((Scope.JOBS_WRITE,)),  # who sends a file looks which parts have come
    OF_JOBS.changing,
    {"/v1/uploads/{upload_id}/parts/{number}": Rule((Scope.JOBS_WRITE,))},  # recorded once they are a whole
)
OF_RESULTS = RouterRules(
    RECORDED_READ,
    OF_JOBS.changing,
    {"/v1/schemas/result": OPEN, "/v1/receipt-key": OPEN},  # public, both
)
OF_WEBHOOKS = RouterRules(
    Rule((Scope.WEBHOOKS,)),
    Rule((Scope.WEBHOOKS,), is_recorded=True),
    {
        "/v1/schemas/webhook": OPEN,
        "/v1/webhooks/default-secret": RECORDED_ADMIN,
        "/v1/jobs/{job_id}/deliveries": OF_JOBS.reading,
    },
)
OF_KEYS = RouterRules(ADMIN, RECORDED_ADMIN)
FOR_KNOWN = RouterRules(KNOWN, RECORDED_ADMIN)
FOR_ALL = RouterRules(OPEN, RECORDED_ADMIN)
OF_HEALTH = RouterRules(OPEN, RECORDED_ADMIN, {"/metrics": MONITORING})


@dataclass(frozen=True)
class GuardedRoute:
    """A route with its method and its rule."""

    route: APIRoute
    method: str
    rule: Rule


class AccessRules:
    """The rules of an application."""

    def __init__(self, routers: Sequence[tuple[APIRouter, RouterRules]]) -> None:
        self.routers = [router for router, _ in routers]
        self._routes = tuple(_guard_all(routers))

    def __iter__(self) -> Iterator[GuardedRoute]:
        """Iterate over every route."""
        return iter(self._routes)

    def find(self, scope: ConnectionScope) -> GuardedRoute | None:
        """Return the route that will answer a request, or None where nothing will."""
        for guarded in self._routes:
            match, _ = guarded.route.matches(scope)
            if match is Match.FULL:
                return guarded
        return None


def _guard_all(routers: Sequence[tuple[APIRouter, RouterRules]]) -> Iterator[GuardedRoute]:
    for router, rules in routers:
        for route in router.routes:
            if not isinstance(route, APIRoute):
                raise TypeError(f"{route}: no rule of access is known for this kind of route")
            (method,) = sorted(route.methods or ())
            yield GuardedRoute(route, method, rules.choose(route.path, method))
