"""One run of acceptance: every case of a corpus, several at a time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import httpx

from client.acceptance.judging import describe, describe_expected, judge
from client.acceptance.manifest import Case, Manifest
from client.acceptance.sending import Platform
from client.errors import ClientError

_LIMITS = ("upload_bytes", "archive_bytes", "archive_entries")


@dataclass(frozen=True)
class Verdict:
    """How one case went. `skipped` says why it was not sent, None when it was."""

    id: str
    title: str
    expected: str
    got: str
    differences: tuple[str, ...]
    seconds: float
    job_id: str | None = None
    skipped: str | None = None

    @property
    def has_passed(self) -> bool:
        """Whether the platform gave the right answer."""
        return self.skipped is None and not self.differences


def run_corpus(
    manifest: Manifest, platform: Platform, *, at_once: int, report: Callable[[Verdict], None] = lambda _: None
) -> list[Verdict]:
    """Send every case and return the verdicts in the order of the corpus.

    Raises httpx.HTTPError when no platform answers, and ApiError when it refuses the first question.
    """
    why = _explain_limits(manifest, platform.fetch("/v1/limits"))

    def judge_case(case: Case) -> Verdict:
        verdict = _skip(case, why) if case.needs_limits and why else _try(case, manifest.cases, platform)
        report(verdict)
        return verdict

    with ThreadPoolExecutor(at_once) as pool:
        return list(pool.map(judge_case, manifest.cases.values()))


def _explain_limits(manifest: Manifest, limits: Mapping[str, Any]) -> str | None:
    """Return why cases that go beyond a limit cannot be judged, or None when they can."""
    wider = [name for name in _LIMITS if limits.get(name, 0) > manifest.limits.get(name, 0)]
    if not wider:
        return None
    names = ", ".join(f"{name} {limits[name]} (corpus: {manifest.limits.get(name, 0)})" for name in wider)
    return f"the corpus of scale {manifest.scale} is too small for the limits of this platform: {names}"


def _skip(case: Case, why: str) -> Verdict:
    return Verdict(case.id, case.title, describe_expected(case.expected), "not sent", (), 0.0, skipped=why)


def _try(case: Case, cases: Mapping[str, Case], platform: Platform) -> Verdict:
    started = time.monotonic()
    try:
        observed = platform.observe(case, cases)
        got, differences, job_id = describe(observed), judge(case, observed), observed.job.get("id")
    except (httpx.HTTPError, OSError, ClientError) as error:
        got, differences, job_id = "no answer", [f"{type(error).__name__}: {error}"], None
    seconds = time.monotonic() - started
    return Verdict(case.id, case.title, describe_expected(case.expected), got, tuple(differences), seconds, job_id)


def count_verdicts(verdicts: list[Verdict]) -> dict[str, int]:
    """Return how many cases were passed, failed and skipped."""
    passed = sum(verdict.has_passed for verdict in verdicts)
    skipped = sum(verdict.skipped is not None for verdict in verdicts)
    return {"passed": passed, "failed": len(verdicts) - passed - skipped, "skipped": skipped}


def iterate_documents(verdicts: list[Verdict]) -> Iterator[dict[str, Any]]:
    """Yield the verdicts as JSON values."""
    for verdict in verdicts:
        yield {
            "id": verdict.id,
            "title": verdict.title,
            "passed": verdict.has_passed,
            "skipped": verdict.skipped,
            "expected": verdict.expected,
            "got": verdict.got,
            "differences": list(verdict.differences),
            "job_id": verdict.job_id,
            "seconds": round(verdict.seconds, 3),
        }
