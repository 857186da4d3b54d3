"""The phases of a load: what the platform can do, how it answers below that, and what becomes of five times as much."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from benchmarks.load.arrivals import Arrival, Target, draw_offsets, send_at
from benchmarks.load.figures import Judged, compute_latencies, compute_percentiles, count_answers, judge
from benchmarks.load.reckoning import Books
from benchmarks.load.watching import Watched, watched

RAMP = (0.3, 0.6, 0.9)
"""Parts of the capacity at which latencies are measured."""

_DRAIN_LIMIT_S = 900.0
_FIRST, _LAST = 0.2, 0.9


@dataclass(frozen=True)
class Plan:
    """How long each phase takes, and how many studies tell the capacity."""

    burst: int = 60
    step_s: float = 20.0
    overload_s: float = 60.0
    factor: float = 5.0
    seed: int = 1


SHORT = Plan(burst=16, step_s=5.0, overload_s=10.0)
"""All phases in under a minute."""


@dataclass(frozen=True)
class Step:
    """One phase: what came and how it was answered. Seconds count from when each study was due."""

    name: str
    rate_hz: float
    seconds: float
    arrivals: int
    answers: dict[str, int]
    answered_s: dict[str, float]
    result_s: dict[str, float]
    sent_late_s: dict[str, float]


@dataclass(frozen=True)
class LoadReport:
    """What came of a whole load."""

    capacity_hz: float
    steps: Sequence[Step]
    health_s: dict[str, float]
    memory_bytes: dict[str, float]
    judged: Sequence[Judged]

    @property
    def is_kept(self) -> bool:
        """Whether every promise was."""
        return all(each.is_kept for each in self.judged)

    def to_document(self) -> dict[str, object]:
        """Return the report as JSON values."""
        return {**asdict(self), "is_kept": self.is_kept}


class Load:
    """One load on one platform."""

    def __init__(self, target: Target, books: Books, gateway_pid: int, plan: Plan) -> None:
        self._target = target
        self._books = books
        self._gateway_pid = gateway_pid
        self._plan = plan
        self._jobs_before = books.count_jobs()
        self._sent: list[Arrival] = []
        self._steps: list[Step] = []

    def run(self) -> LoadReport:
        """Measure the capacity, ramp up to it, overload and reckon."""
        plan = self._plan
        self._take("warm", [0.0] * 2, 0.0)
        capacity_hz = self._measure_capacity()
        for number, part in enumerate(RAMP):
            rate_hz = part * capacity_hz
            self._take(f"{part:g} x capacity", draw_offsets(rate_hz, plan.step_s, seed=plan.seed + number), rate_hz)
        seen = self._overload(plan.factor * capacity_hz)
        promised = [arrival.job_id for arrival in self._sent if arrival.job_id is not None]
        reckoning = self._books.reckon(promised, jobs_before=self._jobs_before)
        memory = compute_percentiles([float(size) for size in seen.rss_bytes])
        judged = judge(self._sent, reckoning, seen)
        return LoadReport(capacity_hz, self._steps[1:], compute_percentiles(seen.health_s), memory, judged)

    def _measure_capacity(self) -> float:
        """Return how many studies end in a second while there are always some that wait.

        They end about in the order in which they came; the first fill the platform and behind the last it runs empty.
        """
        burst = self._take("burst", [0.0] * self._plan.burst, 0.0)
        ended = self._books.fetch_ended([arrival.job_id for arrival in burst if arrival.job_id is not None])
        times = sorted(end.finished_at for end in ended.values() if end is not None)
        first, last = int(_FIRST * len(times)), int(_LAST * len(times))
        return (last - first) / (times[last] - times[first])

    def _overload(self, rate_hz: float) -> Watched:
        plan = self._plan
        offsets = draw_offsets(rate_hz, plan.overload_s, seed=plan.seed)
        with watched(self._target.url, self._gateway_pid) as seen:
            self._take(f"{plan.factor:g} x capacity", offsets, rate_hz)
        return seen

    def _take(self, name: str, offsets: Sequence[float], rate_hz: float) -> list[Arrival]:
        print(f"{name}: {len(offsets)} studies", file=sys.stderr)
        arrivals = asyncio.run(send_at(self._target, offsets))
        if not self._books.wait_until_idle(_DRAIN_LIMIT_S):
            raise SystemExit(f"{name}: jobs were open after {_DRAIN_LIMIT_S:.0f} s")
        self._sent += arrivals
        ended = self._books.fetch_ended([arrival.job_id for arrival in arrivals if arrival.job_id is not None])
        self._steps.append(
            Step(
                name=name,
                rate_hz=rate_hz,
                seconds=offsets[-1] if offsets else 0.0,
                arrivals=len(arrivals),
                answers=count_answers(arrivals),
                answered_s=compute_percentiles([arrival.answered_s for arrival in arrivals if arrival.status]),
                result_s=compute_percentiles(compute_latencies(arrivals, ended)),
                sent_late_s=compute_percentiles([arrival.sent_late_s for arrival in arrivals]),
            )
        )
        return arrivals
