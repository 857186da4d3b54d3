"""How often a caller may ask: one limit over all gateway processes, kept in the database.

The generic cell rate algorithm: of each caller stands how far ahead of the clock it has spent its requests. One
statement of one row decides, so that two gateways cannot both give the last request away. The table is unlogged, and
such a commit waits for no disk.
Headers: draft-ietf-httpapi-ratelimit-headers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import text
from sqlalchemy.orm import Session

from gateway.access.errors import RateLimited
from shared.settings import Settings

_NAME = '"requests"'
_SPEND = text(
    "INSERT INTO allowances AS kept (caller, spent_until) VALUES (:caller, clock_timestamp() + :cost) "
    "ON CONFLICT (caller) DO UPDATE SET spent_until = greatest(kept.spent_until, clock_timestamp()) + :cost "
    "WHERE greatest(kept.spent_until, clock_timestamp()) + :cost <= clock_timestamp() + :window "
    "RETURNING extract(epoch FROM spent_until - clock_timestamp())"
)
_LOOK = text("SELECT extract(epoch FROM spent_until - clock_timestamp()) FROM allowances WHERE caller = :caller")


@dataclass(frozen=True)
class RateLimit:
    """`burst` requests at once, and from then on one every `interval_s` seconds."""

    burst: int
    interval_s: float

    @property
    def window_s(self) -> float:
        """Seconds after which a spent burst is whole again."""
        return self.burst * self.interval_s

    def describe(self, spent_s: float) -> dict[str, str]:
        """Return the headers that tell a caller what is left, having spent so many seconds ahead."""
        left = max(0, math.floor((self.window_s - spent_s) / self.interval_s + 1e-6))
        return {
            "RateLimit-Policy": f"{_NAME};q={self.burst};w={max(1, math.ceil(self.window_s))}",
            "RateLimit": f"{_NAME};r={left};t={max(0, math.ceil(spent_s))}",
        }


def make_rate_limit(settings: Settings) -> RateLimit:
    """Return the limit of the settings."""
    return RateLimit(settings.rate_limit_burst, 60 / settings.rate_limit_per_minute)


def spend_one(session: Session, caller: str, limit: RateLimit) -> Mapping[str, str]:
    """Take one request off a caller's allowance and return the headers that tell what is left. Raises RateLimited."""
    cost, window = timedelta(seconds=limit.interval_s), timedelta(seconds=limit.window_s)
    spent_s = session.scalar(_SPEND, {"caller": caller, "cost": cost, "window": window})
    if spent_s is not None:
        return limit.describe(float(spent_s))
    spent_s = float(session.scalar(_LOOK, {"caller": caller}) or 0)
    retry_after_s = max(1, math.ceil(spent_s + limit.interval_s - limit.window_s))
    raise RateLimited(retry_after_s, limit.describe(spent_s))
