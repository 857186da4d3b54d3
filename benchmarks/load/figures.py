"""Percentiles, and what a load is judged by."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from benchmarks.load.arrivals import Arrival
from benchmarks.load.reckoning import Ended, Reckoning
from benchmarks.load.watching import Watched

HEALTH_LIMIT_S = 1.0
GROWTH_LIMIT = 0.1
_SHARES = (50, 95, 99)


@dataclass(frozen=True)
class Judged:
    """One promise, and whether it was kept."""

    promise: str
    found: str
    is_kept: bool


def compute_percentiles(values: Sequence[float]) -> dict[str, float]:
    """Return p50, p95, p99 and the largest value, each one that was really seen; nothing of nothing."""
    ordered = sorted(values)
    if not ordered:
        return {}
    places = {f"p{share}": ordered[min(len(ordered) - 1, len(ordered) * share // 100)] for share in _SHARES}
    return {**places, "max": ordered[-1]}


def compute_latencies(arrivals: Sequence[Arrival], ended: Mapping[str, Ended | None]) -> list[float]:
    """Return the seconds from when each accepted study was due to its end."""
    found = ((arrival, ended.get(arrival.job_id or "")) for arrival in arrivals)
    return [end.finished_at - arrival.due_at for arrival, end in found if end is not None]


def count_answers(arrivals: Sequence[Arrival]) -> dict[str, int]:
    """Return how many submissions were answered in each way: `202`, `503 queue_full`, `no answer ReadTimeout`."""
    return dict(Counter(_name_answer(arrival) for arrival in arrivals))


def judge(arrivals: Sequence[Arrival], reckoning: Reckoning, seen: Watched) -> list[Judged]:
    """Hold what was seen against what is promised under overload."""
    health = compute_percentiles(seen.health_s)
    refused = [arrival for arrival in arrivals if arrival.status >= 400]
    unanswered = sum(arrival.status == 0 for arrival in arrivals)
    silent = sum(not _has_retry_after(arrival) for arrival in refused)
    return [
        Judged(
            "no accepted job is lost, each has one result, nothing is left over",
            f"{reckoning.promised} accepted, {reckoning.lost} lost, {reckoning.unended} open, {reckoning.results} "
            f"results, orphans {len(reckoning.reconciliation.objects)} objects, {len(reckoning.reconciliation.rows)} "
            f"rows, {reckoning.reconciliation.messages} messages",
            reckoning.is_exact,
        ),
        Judged(
            "no job that nobody was told of, but of requests that got no answer",
            f"{reckoning.unpromised} jobs, {unanswered} requests without an answer",
            0 <= reckoning.unpromised <= unanswered,
        ),
        Judged(
            "there are refusals, and all carry Retry-After",
            f"{len(refused)} refusals, {silent} without",
            bool(refused) and silent == 0,
        ),
        Judged(
            f"health p99 < {HEALTH_LIMIT_S:g} s",
            f"{health.get('p99', 0.0):.3f} s over {len(seen.health_s)} looks, {seen.failures} failed",
            bool(health) and health["p99"] < HEALTH_LIMIT_S and seen.failures == 0,
        ),
        Judged(
            f"the gateway's memory grows by less than {GROWTH_LIMIT:.0%}",
            f"{seen.growth:+.1%}, at most {max(seen.rss_bytes, default=0) / 2**20:.0f} MiB",
            bool(seen.rss_bytes) and seen.growth < GROWTH_LIMIT,
        ),
    ]


def _has_retry_after(arrival: Arrival) -> bool:
    return arrival.retry_after is not None and arrival.retry_after.isdecimal() and int(arrival.retry_after) >= 1


def _name_answer(arrival: Arrival) -> str:
    if arrival.status == 0:
        return f"no answer {arrival.code}"
    return str(arrival.status) if arrival.is_accepted else f"{arrival.status} {arrival.code}"
