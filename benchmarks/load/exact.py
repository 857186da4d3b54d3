"""Exact counts: many clients, each with many submissions of few studies, and how many results and answers there are."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import httpx

from benchmarks.load.arrivals import Target
from benchmarks.load.figures import Judged
from benchmarks.load.reckoning import Books

_PATIENCE_S = 120.0
_DRAIN_LIMIT_S = 1800.0
_LONGEST_WAIT_S = 30


@dataclass(frozen=True)
class ModelCount:
    """Of one model: answers that differ in what they are made from, runs, and answers taken from earlier jobs."""

    different: int
    made: int
    reused: int


@dataclass(frozen=True)
class ExactReport:
    """What there was in the end."""

    submissions: int
    studies: int
    reuses: bool
    jobs: int
    results: int
    by_model: Mapping[str, ModelCount]
    judged: Sequence[Judged]

    @property
    def is_kept(self) -> bool:
        """Whether every count was as it should be."""
        return all(each.is_kept for each in self.judged)

    def to_document(self) -> dict[str, object]:
        """Return the report as JSON values."""
        return {**asdict(self), "is_kept": self.is_kept}


def count_exactly(target: Target, books: Books, *, clients: int, submissions: int, reuses: bool) -> ExactReport:
    """Send `submissions` of each of `clients`, the studies in turns, and count once all have ended."""
    before = books.count_jobs()
    asking = Target(target.url, target.studies, {**target.options, "reuse": str(reuses).lower()}, target.headers)
    ids = asyncio.run(_send_all(asking, clients, submissions))
    if not books.wait_until_idle(_DRAIN_LIMIT_S):
        raise SystemExit(f"jobs were open after {_DRAIN_LIMIT_S:.0f} s")
    reckoning = books.reckon(ids, jobs_before=before)
    counts = {str(model): ModelCount(*found) for model, found in books.count_answers(ids).items() if found[0]}
    expected, studies = clients * submissions, len(target.studies)
    judged = [
        Judged("one job for each submission", f"{len(set(ids))} of {expected}", len(set(ids)) == expected),
        Judged("one result for each job", f"{reckoning.results} of {expected}", reckoning.results == expected),
        Judged("no job beside", str(reckoning.unpromised), reckoning.unpromised == 0),
        Judged(
            "no orphan",
            f"{len(reckoning.reconciliation.objects)} objects, {len(reckoning.reconciliation.rows)} rows, "
            f"{reckoning.reconciliation.messages} messages",
            reckoning.reconciliation.is_clean,
        ),
        *(_judge(model, count, studies, expected, reuses) for model, count in counts.items()),
    ]
    return ExactReport(expected, studies, reuses, len(set(ids)), reckoning.results, counts, judged)


def _judge(model: str, count: ModelCount, studies: int, expected: int, reuses: bool) -> Judged:
    found = f"{count.different} different, {count.made} made, {count.reused} taken from earlier jobs"
    is_whole = count.different == studies and count.made + count.reused == expected
    if reuses:
        return Judged(f"{model}: {studies} different answers serve {expected} jobs", found, is_whole)
    return Judged(f"{model}: each of {expected} jobs has an answer of its own", found, is_whole and count.reused == 0)


async def _send_all(target: Target, clients: int, submissions: int) -> list[str]:
    limits = httpx.Limits(max_connections=clients, max_keepalive_connections=clients)
    async with httpx.AsyncClient(base_url=target.url, timeout=_PATIENCE_S, limits=limits) as http:
        sent = await asyncio.gather(
            *(_send_one_after_another(http, target, client, submissions) for client in range(clients))
        )
    return [job_id for of_client in sent for job_id in of_client]


async def _send_one_after_another(
    http: httpx.AsyncClient, target: Target, client: int, submissions: int
) -> Sequence[str]:
    return [
        await _submit(http, target, target.studies[(client + number) % len(target.studies)])
        for number in range(submissions)
    ]


async def _submit(http: httpx.AsyncClient, target: Target, study: bytes) -> str:
    """Send a study until it is taken, as late as the platform asks for."""
    while True:
        headers = {"content-type": "application/zip", **target.headers}
        answer = await http.post("/v1/jobs", content=study, params=dict(target.options), headers=headers)
        if answer.is_success:
            return str(answer.json()["id"])
        if "retry-after" not in answer.headers:
            raise SystemExit(f"a study was refused for good: {answer.status_code} {answer.text[:200]}")
        await asyncio.sleep(min(_LONGEST_WAIT_S, int(answer.headers["retry-after"])))
