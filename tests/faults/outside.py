"""F11 and F12: clocks that are wrong, and receivers of webhooks that hang or lie."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from http.server import BaseHTTPRequestHandler
from pathlib import Path

from sqlalchemy import func, select

from shared.database import transaction
from shared.stages import StageName
from shared.states import StageState
from shared.tables import StageRun
from tests.faults.platform import LEASE_S, WORKER_OF, FaultyPlatform
from tests.faults.row import Outcome, Row, SkippedRow, expect_result
from tests.gateway.receiver import Message, running_receiver
from tests.stack.running import wait_until

_ROOT = Path(__file__).parents[2]
_FAKETIME = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
_LYING_S = 6.0
_PROMPT_S = 5.0
_METADATA = "http://169.254.169.254/latest/meta-data/"


@dataclass(frozen=True)
class ShiftedWorker:
    """A worker whose clock is wrong."""

    name: str
    process: subprocess.Popen[bytes]
    ready: Path
    log: Path


@contextmanager
def worker_with_clock(platform: FaultyPlatform, stage: StageName, shift: timedelta) -> Iterator[ShiftedWorker]:
    """Run one more worker of a stage whose clock is wrong."""
    if not _FAKETIME:
        raise SkippedRow("libfaketime is not installed")
    name = f"shifted-{uuid.uuid4().hex[:6]}"
    ready, log_file = platform.folder.root / name, platform.folder.log_file(name)
    environment = {
        **os.environ,
        **platform.stack.environment,
        "CTCLIP_READY_FILE": str(ready),
        "PYTHONPATH": str(_ROOT),
        "OMP_NUM_THREADS": "1",
        "LD_PRELOAD": str(_FAKETIME[0]),
        "FAKETIME": f"{shift.total_seconds():+.0f}",
        # Monotonic clocks do not jump.
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }
    command = [sys.executable, "-m", "tests.faults.shifted_worker", "--name", name, "--stages", stage]
    with log_file.open("wb") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
    try:
        yield ShiftedWorker(name, process, ready, log_file)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def shift_the_clock(stage: StageName, shift: timedelta, platform: FaultyPlatform) -> Outcome:
    """A worker whose clock is wrong keeps its lease for as long as it works, and no longer than others would."""
    with worker_with_clock(platform, stage, shift) as worker:
        wait_until(worker.ready.exists, f"{worker.name} is ready", 60)
        with platform.paused(WORKER_OF[stage]):
            job_id = platform.submit()
            run = platform.await_state(job_id, stage, StageState.LEASED, StageState.SUCCEEDED)
            left_s = _fetch_lease_left_s(platform, job_id, stage)
            ended = platform.await_state(job_id, stage, StageState.SUCCEEDED)
    assert (run.leased_by or "").startswith(worker.name)
    assert left_s is None or -0.5 < left_s <= LEASE_S
    assert (ended.attempt, ended.lost_workers, ended.transient_faults) == (1, 0, 0)
    expect_result(platform, job_id)
    return Outcome("one lease, of the usual length on the database's clock")


def shift_it_too_far(stage: StageName, shift: timedelta, platform: FaultyPlatform) -> Outcome:
    """A worker whose signatures the store refuses says so and takes nothing; the others work on."""
    with worker_with_clock(platform, stage, shift) as worker:
        job_id = platform.submit()
        assert worker.process.wait(60) != 0
        expect_result(platform, job_id)
        ended = platform.await_state(job_id, stage, StageState.SUCCEEDED)
    assert "the clock of this machine" in worker.log.read_text("utf-8")
    assert not (ended.leased_by or "").startswith(worker.name)
    assert (ended.attempt, ended.lost_workers, ended.transient_faults) == (1, 0, 0)
    return Outcome("the store refused its signatures; it ended, saying so, and the other worker answered")


def _fetch_lease_left_s(platform: FaultyPlatform, job_id: uuid.UUID, stage: StageName) -> float | None:
    left = select(func.extract("epoch", StageRun.lease_expires_at - func.now()))
    with transaction(platform.stack.engine) as session:
        found = session.scalar(left.where(StageRun.job_id == job_id, StageRun.stage == stage))
    return None if found is None else float(found)


def hang(request: BaseHTTPRequestHandler, _message: Message) -> None:
    time.sleep(_LYING_S)
    request.close_connection = True


def refuse(request: BaseHTTPRequestHandler, _message: Message) -> None:
    request.send_error(500)


def say_gone(request: BaseHTTPRequestHandler, _message: Message) -> None:
    request.send_error(410)


def redirect_inside(request: BaseHTTPRequestHandler, _message: Message) -> None:
    request.send_response(307)
    request.send_header("Location", _METADATA)
    request.send_header("Content-Length", "0")
    request.end_headers()


def answer_without_end(request: BaseHTTPRequestHandler, _message: Message) -> None:
    request.send_response(200)
    request.send_header("Content-Length", str(10 << 30))
    request.end_headers()
    ends_at = time.monotonic() + _LYING_S
    while time.monotonic() < ends_at:
        request.wfile.write(bytes(1 << 16))


def lie(answer: Callable[[BaseHTTPRequestHandler, Message], None], platform: FaultyPlatform) -> Outcome:
    """Three messages go to a receiver that lies, one to an honest one, which must not wait for them."""
    with running_receiver() as liar, running_receiver() as honest:
        liar.answer = answer
        jobs = [platform.submit(callback_url=liar.url) for _ in range(3)]
        expect_result(platform, *jobs)
        told = platform.submit(callback_url=honest.url)
        expect_result(platform, told)
        since = time.monotonic()
        wait_until(lambda: honest.messages, "the honest receiver is told")
        lag_s = time.monotonic() - since
        wait_until(lambda: liar.messages, "the other receiver is called")
    assert lag_s < _PROMPT_S
    assert all(message.path == "/hook" for message in (*liar.messages, *honest.messages))
    return Outcome(f"the honest receiver was told {lag_s:.1f} s after the job's end", lag_s)


ROWS = (
    *(
        Row("F11", f"clock of a worker {minutes:+} min", stage, partial(act, stage, timedelta(minutes=minutes)))
        for act, by in ((shift_the_clock, 10), (shift_it_too_far, 60))
        for stage in (StageName.INTAKE, StageName.FUSION)
        for minutes in (by, -by)
    ),
    Row("F12", "receiver hangs", "callback", partial(lie, hang)),
    Row("F12", "receiver answers 500", "callback", partial(lie, refuse)),
    Row("F12", "receiver answers 410", "callback", partial(lie, say_gone)),
    Row("F12", "receiver redirects to 169.254.169.254", "callback", partial(lie, redirect_inside)),
    Row("F12", "receiver answers 10 GB", "callback", partial(lie, answer_without_end)),
)
