"""When a message is tried again. Pure; the delays are those of Standard Webhooks, each counted from the try before."""

from __future__ import annotations

from datetime import timedelta

DELAYS: tuple[timedelta, ...] = (
    timedelta(0),
    timedelta(seconds=5),
    timedelta(minutes=5),
    timedelta(minutes=30),
    timedelta(hours=2),
    timedelta(hours=5),
    timedelta(hours=10),
    timedelta(hours=14),
    timedelta(hours=20),
    timedelta(hours=24),
)
"""Delay before each try, the first included."""

JITTER = 0.1
"""Largest share by which a delay is lengthened, so that what failed together does not come back together."""


def compute_delay(tries: int, chance: float) -> timedelta | None:
    """Return how long after `tries` failed ones the next is made, None when there is none; `chance` is in 0..1."""
    return DELAYS[tries] * (1 + JITTER * chance) if tries < len(DELAYS) else None
