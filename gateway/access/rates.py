"""How often a caller may ask: one limit over all gateway processes, kept in the database.

The generic cell rate algorithm: of each caller stands how far ahead of the clock it has spent its requests. One
statement of one row decides, so that two gateways cannot both give the last request away. The table is unlogged, and
such a commit waits for no disk. A tenant has an allowance of its own, which all its keys share, and so has every
address that keys come from which are not valid.
Headers: draft-ietf-httpapi-ratelimit-headers.
"""

from __future__ import annotations

import ipaddress
import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import text
from sqlalchemy.orm import Session

from gateway.access.callers import Caller
from gateway.access.errors import RateLimited
from shared.settings import Settings

_SPEND = text(
    "INSERT INTO allowances AS kept (caller, spent_until) VALUES (:caller, clock_timestamp() + :cost) "
    "ON CONFLICT (caller) DO UPDATE SET spent_until = greatest(kept.spent_until, clock_timestamp()) + :cost "
    "WHERE greatest(kept.spent_until, clock_timestamp()) + :cost <= clock_timestamp() + :window "
    "RETURNING extract(epoch FROM spent_until - clock_timestamp())"
)
_LOOK = text("SELECT extract(epoch FROM spent_until - clock_timestamp()) FROM allowances WHERE caller = :caller")
_NETWORK_OF_ONE = 64  # bits of an IPv6 address that stand for one customer (RFC 6177)


@dataclass(frozen=True)
class RateLimit:
    """`burst` requests at once, and from then on one every `interval_s` seconds."""

    name: str
    burst: int
    interval_s: float
    subject: str

    @property
    def window_s(self) -> float:
        """Seconds after which a spent burst is whole again."""
        return self.burst * self.interval_s


@dataclass(frozen=True)
class Spent:
    """What is spent of a limit: so many seconds ahead of the clock."""

    limit: RateLimit
    seconds: float

    @property
    def left(self) -> int:
        """Requests that may come at once now."""
        return max(0, math.floor((self.limit.window_s - self.seconds) / self.limit.interval_s + 1e-6))

    @property
    def headers(self) -> Mapping[str, str]:
        """Headers that tell a caller what is left."""
        limit = self.limit
        return {
            "RateLimit-Policy": f'"{limit.name}";q={limit.burst};w={max(1, math.ceil(limit.window_s))}',
            "RateLimit": f'"{limit.name}";r={self.left};t={max(0, math.ceil(self.seconds))}',
        }


class RateLimits:
    """The limits of an installation."""

    def __init__(self, settings: Settings) -> None:
        self._of_caller = RateLimit(
            "requests", settings.rate_limit_burst, 60 / settings.rate_limit_per_minute, "This key or token has"
        )
        self._of_tenant = RateLimit(
            "tenant",
            settings.tenant_rate_limit_burst,
            60 / settings.tenant_rate_limit_per_minute,
            "All keys and tokens of this tenant together have",
        )
        self._of_address = RateLimit(
            "refused",
            settings.refused_limit_per_minute,
            60 / settings.refused_limit_per_minute,
            "Keys or tokens that are not valid, all from this address, have",
        )

    def spend(self, session: Session, caller: Caller) -> Mapping[str, str]:
        """Take one request off the allowances of a caller and of its tenant. Raises RateLimited.

        Returns the headers that tell what is left of the scarcer one.
        """
        of_caller = spend_one(session, f"{caller.tenant} {caller.name}", self._of_caller)
        of_tenant = spend_one(session, caller.tenant, self._of_tenant)
        return min(of_caller, of_tenant, key=lambda spent: spent.left).headers

    def spend_refused(self, session: Session, address: str) -> None:
        """Take one refusal off the allowance of an address. Raises RateLimited."""
        spend_one(session, f"@{_choose_network(address)}", self._of_address)  # no tenant is named like that


def spend_one(session: Session, whose: str, limit: RateLimit) -> Spent:
    """Take one request off an allowance. Raises RateLimited."""
    cost, window = timedelta(seconds=limit.interval_s), timedelta(seconds=limit.window_s)
    spent_s = session.scalar(_SPEND, {"caller": whose, "cost": cost, "window": window})
    if spent_s is not None:
        return Spent(limit, float(spent_s))
    spent = Spent(limit, float(session.scalar(_LOOK, {"caller": whose}) or 0))
    retry_after_s = max(1, math.ceil(spent.seconds + limit.interval_s - limit.window_s))
    raise RateLimited(limit.subject, retry_after_s, spent.headers)


def _choose_network(address: str) -> str:
    """Return what one sender has of addresses: one of IPv4, a network of IPv6."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return "unknown"
    if isinstance(parsed, ipaddress.IPv6Address):
        return str(parsed.ipv4_mapped or ipaddress.IPv6Network((int(parsed), _NETWORK_OF_ONE), strict=False))
    return str(parsed)
