"""What the platform costs beyond the work: one study through the real stack with all models skipped.

Prints (1) the time of a study beyond its intake work at p50 and p95, one study at a time, and (2) jobs per second
with many studies in flight, beside a bare Celery chain of two no-op tasks on the same broker. All in one run.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from statistics import median, quantiles
from typing import Any, TypeVar

import httpx
from celery import Celery, chain
from redis import Redis

from benchmarks.noop_worker import COUNTER, FIRST, LAST
from benchmarks.stack import Stack, started_stack
from phantom.dicom import write_zip
from phantom.study import PhantomSettings, make_study

Found = TypeVar("Found")

# A model that was asked for and is not installed is skipped, so this runs intake, fusion and nothing else.
OPTIONS = {"models": "ct_clip", "reuse": "false"}
POLICY = {"CTCLIP_POLICY": "skeleton"}
POLL_S = 0.01
LIMIT_S = 300.0


@dataclass(frozen=True)
class StudyTime:
    """Seconds of one study: as the caller saw it, and the part in which intake worked."""

    total_s: float
    intake_s: float

    @property
    def overhead_s(self) -> float:
        """Everything that was not reading the study."""
        return self.total_s - self.intake_s


def main() -> None:
    """Run both measurements and print them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--studies", type=int, default=40, help="studies one at a time")
    parser.add_argument("--jobs", type=int, default=200, help="studies in flight together")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, started_stack(Path(folder) / "state", POLICY) as stack:
        study = _make_small_study(Path(folder))
        with httpx.Client(base_url=stack.url, timeout=60) as http:
            _run_study(http, study)  # the first one warms every process
            times = [_run_study(http, study) for _ in range(arguments.studies)]
            _print_latency(times)
            platform = _measure_throughput(http, study, arguments.jobs)
        bare = _measure_bare_chain(stack, arguments.jobs)
        print(f"platform            {platform:8.1f} jobs/s ({arguments.jobs} studies, intake work included)")
        print(f"bare Celery chain   {bare:8.1f} chains/s (two no-op tasks)")
        print(f"ratio               {platform / bare:8.3f}")


def _make_small_study(folder: Path) -> Path:
    path = folder / "study.zip"
    write_zip(make_study(1, (), PhantomSettings.coarse()), path)
    return path


def _submit(http: httpx.Client, study: Path) -> str:
    with study.open("rb") as body:
        answer = http.post("/v1/jobs", files={"file": ("study.zip", body)}, params=OPTIONS)
    answer.raise_for_status()
    return str(answer.json()["id"])


def _run_study(http: httpx.Client, study: Path) -> StudyTime:
    job = _wait_for_end(http, _submit(http, study))
    if job["state"] != "completed_partial":
        raise SystemExit(f"The job ended as {job['state']}: {job['problem']}")
    intake = next(stage for stage in job["stages"] if stage["name"] == "intake")
    return StudyTime(_elapsed(job), intake["seconds"])


def _wait_for_end(http: httpx.Client, job_id: str) -> dict[str, Any]:
    return _wait(lambda: _finished(http, job_id), f"job {job_id}")


def _finished(http: httpx.Client, job_id: str) -> dict[str, Any] | None:
    job: dict[str, Any] = http.get(f"/v1/jobs/{job_id}").json()
    return job if job["finished_at"] else None


def _elapsed(job: dict[str, Any]) -> float:
    """Return seconds from acceptance to result, by the database's clock, so that polling does not count."""
    return (datetime.fromisoformat(job["finished_at"]) - datetime.fromisoformat(job["created_at"])).total_seconds()


def _print_latency(times: Sequence[StudyTime]) -> None:
    overhead = sorted(time.overhead_s for time in times)
    intake = median(time.intake_s for time in times)
    p50, p95 = median(overhead), quantiles(overhead, n=20)[-1]
    print(f"intake work p50     {intake * 1000:8.1f} ms ({len(times)} studies, one at a time)")
    print(f"beyond intake p50   {p50 * 1000:8.1f} ms = {p50 / intake:.2f} x intake work")
    print(f"beyond intake p95   {p95 * 1000:8.1f} ms = {p95 / intake:.2f} x intake work")


def _measure_throughput(http: httpx.Client, study: Path, jobs: int) -> float:
    """Return jobs per second from the first submission to the last result."""
    started = time.monotonic()
    with ThreadPoolExecutor(4) as pool:
        ids = list(pool.map(lambda _: _submit(http, study), range(jobs)))
    for job_id in ids:
        _wait_for_end(http, job_id)
    return jobs / (time.monotonic() - started)


def _measure_bare_chain(stack: Stack, chains: int) -> float:
    """Return chains per second of two no-op tasks through the same broker, worker start not counted."""
    app = Celery("bare", broker=stack.broker_url)
    counter = Redis.from_url(stack.broker_url)
    command = [sys.executable, "-m", "benchmarks.noop_worker", stack.broker_url]
    worker = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _send_chains(app, counter, 1)
        started = time.monotonic()
        _send_chains(app, counter, chains)
        return chains / (time.monotonic() - started)
    finally:
        worker.terminate()
        worker.wait(timeout=30)


def _send_chains(app: Celery, counter: Redis, chains: int) -> None:
    counter.delete(COUNTER)
    for _ in range(chains):
        chain(app.signature(FIRST, immutable=True), app.signature(LAST, immutable=True))()
    _wait(lambda: int(counter.get(COUNTER) or 0) >= chains, "the bare chains")


def _wait(look: Callable[[], Found | None], what: str) -> Found:
    deadline = time.monotonic() + LIMIT_S
    while time.monotonic() < deadline:
        found = look()
        if found:
            return found
        time.sleep(POLL_S)
    raise SystemExit(f"{what} did not end within {LIMIT_S:.0f} s")


if __name__ == "__main__":
    main()
