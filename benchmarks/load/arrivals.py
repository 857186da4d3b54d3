"""Open-loop arrivals: when each study comes is drawn before the first one is sent, and waits for no answer.

Times count from the moment at which a study was due, not from when its request was got out: a platform, or a tool,
that falls behind is charged with the delay (no coordinated omission).
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import httpx

_CONNECTIONS = 512
_PATIENCE_S = 60.0
_ZIP = {"content-type": "application/zip"}


@dataclass
class Arrival:
    """One study: when it was due (seconds since the epoch), and how its submission was answered.

    `status` is 0 where no answer came; then nobody knows whether there is a job.
    """

    due_at: float
    study: int
    status: int = 0
    job_id: str | None = None
    retry_after: str | None = None
    code: str | None = None
    sent_late_s: float = 0.0
    answered_s: float = 0.0

    @property
    def is_accepted(self) -> bool:
        """Whether a job was promised."""
        return self.job_id is not None


@dataclass(frozen=True)
class Target:
    """Where studies are sent, what is sent, and what is asked of it."""

    url: str
    studies: Sequence[bytes]
    options: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)


def draw_offsets(rate_hz: float, seconds: float, *, seed: int) -> list[float]:
    """Return when studies are due, in seconds from the start: a Poisson process of `rate_hz` over `seconds`."""
    source, at, offsets = random.Random(seed), 0.0, []
    while (at := at + source.expovariate(rate_hz)) < seconds:
        offsets.append(at)
    return offsets


async def send_at(target: Target, offsets: Sequence[float]) -> list[Arrival]:
    """Send a study at every offset and return all, once each was answered or given up."""
    limits = httpx.Limits(max_connections=_CONNECTIONS, max_keepalive_connections=_CONNECTIONS)
    async with httpx.AsyncClient(base_url=target.url, timeout=_PATIENCE_S, limits=limits) as http:
        start = time.time()
        arrivals = [Arrival(start + offset, number % len(target.studies)) for number, offset in enumerate(offsets)]
        async with asyncio.TaskGroup() as tasks:
            for arrival in arrivals:
                await asyncio.sleep(max(0.0, arrival.due_at - time.time()))
                tasks.create_task(_send(http, target, arrival))
        return arrivals


async def _send(http: httpx.AsyncClient, target: Target, arrival: Arrival) -> None:
    arrival.sent_late_s = time.time() - arrival.due_at
    try:
        answer = await http.post(
            "/v1/jobs",
            content=target.studies[arrival.study],
            headers={**_ZIP, **target.headers},
            params=dict(target.options),
        )
    except httpx.HTTPError as error:
        arrival.code = type(error).__name__
    else:
        _note(arrival, answer)
    arrival.answered_s = time.time() - arrival.due_at


def _note(arrival: Arrival, answer: httpx.Response) -> None:
    arrival.status = answer.status_code
    arrival.retry_after = answer.headers.get("retry-after")
    told = answer.json()
    if answer.is_success:
        arrival.job_id = str(told["id"])
    else:
        arrival.code = str(told.get("code"))
