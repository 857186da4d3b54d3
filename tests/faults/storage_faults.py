"""F9 and F10: object storage that fails, starves, cuts and changes answers, and a full disk."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from functools import partial

from shared.stages import StageName
from shared.states import StageState
from tests.faults.platform import WORKER_OF, FaultyPlatform
from tests.faults.proxy import CLEAR, Conditions
from tests.faults.row import Outcome, Row, SkippedRow, expect_result
from tests.stack.running import wait_until

_SLOW_FOR_S = 6
_SPARE_BYTES = 16 * 1024
_TRUNCATED = Conditions(answer_limit_bytes=20_000)
_CHANGED = Conditions(changes_answers=True)


def submit_without_storage(platform: FaultyPlatform) -> Outcome:
    with platform.storage.under(Conditions(fails=True)):
        answer = platform.stack.http.post("/v1/jobs", content=platform.study.read_bytes())
        code = answer.json()["code"]
        assert (answer.status_code, code) == (503, "storage_unavailable"), answer.text
        assert "retry-after" in answer.headers
    since = time.monotonic()
    expect_result(platform, platform.submit())
    return Outcome("503 with `Retry-After`; the next submission is answered", time.monotonic() - since)


def read_through(stage: StageName, conditions: Conditions, platform: FaultyPlatform) -> Outcome:
    """A stage reads its input under the conditions until it has met a fault, then they end."""
    with platform.paused(WORKER_OF[stage]):
        job_id = platform.submit()
        platform.await_state(job_id, stage, StageState.READY)
        shutil.rmtree(platform.cache / "artefacts", ignore_errors=True)
        platform.storage.conditions = conditions
        platform.storage.cut()
    try:
        wait_until(lambda: platform.fetch_run(job_id, stage).transient_faults > 0, f"{stage} meets the fault", 60)
    finally:
        platform.storage.conditions = CLEAR
        platform.storage.cut()
    since = time.monotonic()
    expect_result(platform, job_id)
    run = platform.fetch_run(job_id, stage)
    assert (run.defects, run.lost_workers) == (0, 0)
    return Outcome(f"noticed {run.transient_faults} times, then answered", time.monotonic() - since)


def starve(stage: StageName, platform: FaultyPlatform) -> Outcome:
    """A stage reads its input at 1 KB/s for a while; its lease is kept, and nobody else runs it meanwhile."""
    with platform.paused(WORKER_OF[stage]):
        job_id = platform.submit()
        platform.await_state(job_id, stage, StageState.READY)
        shutil.rmtree(platform.cache / "artefacts", ignore_errors=True)
        platform.storage.conditions = Conditions(answer_bytes_per_s=1024)
        platform.storage.cut()
    platform.await_state(job_id, stage, StageState.LEASED)
    time.sleep(_SLOW_FOR_S)
    held = platform.fetch_run(job_id, stage)
    platform.storage.conditions = CLEAR
    platform.storage.cut()
    assert (held.state, held.attempt) == (StageState.LEASED, 1)
    since = time.monotonic()
    expect_result(platform, job_id)
    return Outcome("the stage kept its lease, and went on when bytes came", time.monotonic() - since)


def fill_the_disk(stage: StageName, platform: FaultyPlatform) -> Outcome:
    """Nothing can be written on the workers' disk while a stage runs."""
    if shutil.disk_usage(platform.cache).total > 1 << 30:
        raise SkippedRow("no small disk can be mounted here")
    with platform.paused(WORKER_OF[stage]):
        job_id = platform.submit()
        platform.await_state(job_id, stage, StageState.READY)
        shutil.rmtree(platform.cache / "artefacts", ignore_errors=True)
        ballast = platform.cache / "ballast"
        ballast.write_bytes(bytes(shutil.disk_usage(platform.cache).free - _SPARE_BYTES))
    try:
        wait_until(lambda: platform.fetch_run(job_id, stage).transient_faults > 0, f"{stage} meets the full disk", 60)
    finally:
        ballast.unlink()
    since = time.monotonic()
    expect_result(platform, job_id)
    run = platform.fetch_run(job_id, stage)
    assert (run.defects, run.lost_workers) == (0, 0)
    return Outcome(f"`no_space` {run.transient_faults} times, then answered", time.monotonic() - since)


def _read(stage: StageName, conditions: Conditions) -> Callable[[FaultyPlatform], Outcome]:
    return partial(read_through, stage, conditions)


ROWS = (
    Row("F9", "storage answers 500", "upload", submit_without_storage),
    Row("F9", "storage answers 500", "intake", _read(StageName.INTAKE, Conditions(fails=True))),
    Row("F9", "storage answers 500", "mednext", _read(StageName.MEDNEXT, Conditions(fails=True))),
    Row("F9", "truncated read", "intake", _read(StageName.INTAKE, _TRUNCATED)),
    Row("F9", "truncated read", "mednext", _read(StageName.MEDNEXT, _TRUNCATED)),
    Row("F9", "changed bits", "intake", _read(StageName.INTAKE, _CHANGED)),
    Row("F9", "changed bits", "mednext", _read(StageName.MEDNEXT, _CHANGED), is_quick=True),
    Row("F9", "1 KB/s", "intake", partial(starve, StageName.INTAKE)),
    Row("F9", "1 KB/s", "mednext", partial(starve, StageName.MEDNEXT)),
    Row("F10", "disk full", "intake", partial(fill_the_disk, StageName.INTAKE)),
    Row("F10", "disk full", "mednext", partial(fill_the_disk, StageName.MEDNEXT)),
)
