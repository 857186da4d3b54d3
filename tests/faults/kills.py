"""F1, F13, F14 and F15: processes that are killed, told to stop, or crash, each at an exact place."""

from __future__ import annotations

import signal
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial

import psutil
from sqlalchemy import select, text

from shared.database import transaction
from shared.stages import StageName
from shared.states import StageState
from shared.tables import DeadLetter
from tests.faults.platform import WORKER_OF, FaultyPlatform
from tests.faults.proxy import CLEAR, Conditions
from tests.faults.row import Outcome, Row, await_recovery, expect_result
from tests.faults.test_worker_kills import is_blocked, writes_blocked
from tests.stack.running import wait_until

_LAST_TABLE = {StageName.INTAKE: "upload_files", StageName.MEDNEXT: "features", StageName.FUSION: "results"}
_TRIES = 8
_NURSERY = "workers.intake.nursery"


@contextmanager
def job_locked(platform: FaultyPlatform, job_id: uuid.UUID) -> Iterator[None]:
    """Hold the row of a job: whoever wants to claim one of its stages waits."""
    with platform.stack.engine.connect() as connection, connection.begin() as held:
        connection.execute(text("SELECT 1 FROM jobs WHERE id = :id FOR UPDATE"), {"id": job_id})
        yield
        held.rollback()


def kill_before_the_lease(stage: StageName, platform: FaultyPlatform) -> Outcome:
    """The worker has the message and waits to claim when it dies, so the message dies with it."""
    worker = WORKER_OF[stage]
    with ExitStack() as held:
        with platform.paused(worker):
            job_id = platform.submit()
            platform.await_state(job_id, stage, StageState.READY)
            platform.await_sent(job_id)
            held.enter_context(job_locked(platform, job_id))
        wait_until(lambda: platform.count_waiting_for_locks(worker), f"{worker} waits to claim {stage}")
        assert platform.fetch_run(job_id, stage).state is StageState.READY
        platform.kill(worker)
        since = time.monotonic()
    recovery_s = await_recovery(platform, job_id, stage, since)
    expect_result(platform, job_id)
    return Outcome("the reaper wrote the lost message again; the next worker took it", recovery_s)


def stop_mid_work(stage: StageName, platform: FaultyPlatform) -> uuid.UUID:
    """Return a job whose `stage` is leased and in work, its worker paused there."""
    worker = platform.find(WORKER_OF[stage])
    for _ in range(_TRIES):
        job_id = platform.submit()
        platform.await_state(job_id, stage, StageState.LEASED, StageState.SUCCEEDED)
        worker.suspend()
        if platform.fetch_run(job_id, stage).state is StageState.LEASED:
            return job_id
        worker.resume()
        platform.wait_for_end(job_id)
    raise AssertionError(f"{stage} was never seen at work")


def kill_mid_work(stage: StageName, platform: FaultyPlatform) -> Outcome:
    job_id = stop_mid_work(stage, platform)
    platform.kill(WORKER_OF[stage])
    since = time.monotonic()
    recovery_s = await_recovery(platform, job_id, stage, since)
    run = platform.fetch_run(job_id, stage)
    assert (run.attempt, run.lost_workers) == (2, 1)
    expect_result(platform, job_id)
    return Outcome("the lease lapsed; the next worker took the stage", recovery_s)


def terminate_mid_work(stage: StageName, platform: FaultyPlatform) -> Outcome:
    job_id = stop_mid_work(stage, platform)
    process = platform.find(WORKER_OF[stage])
    process.terminate()
    process.resume()
    since = time.monotonic()
    recovery_s = await_recovery(platform, job_id, stage, since)
    run = platform.fetch_run(job_id, stage)
    assert (run.lost_workers, run.transient_faults, run.defects) == (0, 0, 0)
    expect_result(platform, job_id)
    wait_until(lambda: not process.is_running(), "the old process ends")
    how = "finished it" if run.attempt == 1 else "handed it back"
    return Outcome(f"the stopping worker {how}; no budget was touched", recovery_s)


def kill_before_the_commit(stage: StageName, platform: FaultyPlatform) -> Outcome:
    with writes_blocked(platform.stack.engine, _LAST_TABLE[stage]):
        job_id = platform.submit()
        wait_until(lambda: is_blocked(platform.stack.engine, _LAST_TABLE[stage]), f"{stage} is in its last transaction")
        platform.kill(WORKER_OF[stage])
        since = time.monotonic()
    recovery_s = await_recovery(platform, job_id, stage, since)
    assert platform.fetch_run(job_id, stage).attempt == 2
    expect_result(platform, job_id)
    return Outcome("what was written was rolled back; the next worker took the stage", recovery_s)


def kill_again_and_again(platform: FaultyPlatform) -> Outcome:
    """A study that kills its worker each time; its neighbours are answered."""
    stage, worker = StageName.MEDNEXT, WORKER_OF[StageName.MEDNEXT]
    poison = stop_mid_work(stage, platform)
    others = [platform.submit() for _ in range(2)]
    since = time.monotonic()
    platform.kill(worker)
    while not (run := platform.fetch_run(poison, stage)).state.is_terminal:
        if run.state is StageState.LEASED and run.attempt == 2:
            platform.kill(worker)
            platform.await_state(poison, stage, StageState.READY, StageState.FAILED)
        time.sleep(0.002)
    ended_s = time.monotonic() - since
    job = platform.wait_for_end(poison)
    assert (job["state"], job["problem"]["code"]) == ("failed", "no_model_answered"), job
    with transaction(platform.stack.engine) as session:
        letter = session.scalars(select(DeadLetter).where(DeadLetter.job_id == poison)).one()
    assert letter.cause == "worker_lost"
    expect_result(platform, *others)
    return Outcome("after two lost workers it has a dead letter; two others were answered", ended_s)


def deploy_under_load(platform: FaultyPlatform) -> Outcome:
    jobs = [platform.submit() for _ in range(4)]
    since = time.monotonic()
    for name in ("worker-intake", "worker-models", "worker-fusion", "control", "worker-delivery", "gateway"):
        platform.kill(name, signal.SIGTERM)
        time.sleep(0.5)
    wait_until(platform.is_whole, "the new processes are ready")
    expect_result(platform, *jobs)
    for job_id in jobs:
        runs = [platform.fetch_run(job_id, stage) for stage in WORKER_OF]
        assert sum(run.lost_workers + run.defects for run in runs) == 0
    return Outcome("four jobs in flight ended well; no lease lapsed", time.monotonic() - since)


def crash_the_decoder(times: int, platform: FaultyPlatform) -> Outcome:
    """The child that reads the upload gets SIGSEGV while it waits for bytes."""
    worker = platform.find("worker-intake")
    gateway = platform.find("gateway")
    dead: set[int] = set()
    job_id = submit_past(platform)
    try:
        for _ in range(times):
            child = await_child(worker, dead)
            dead.add(child.pid)
            child.send_signal(signal.SIGSEGV)
    finally:
        platform.storage.conditions = CLEAR
        platform.storage.cut()
    job = platform.wait_for_end(job_id)
    assert worker.is_running()
    assert gateway.is_running()
    if times == 1:
        assert str(job["state"]).startswith("completed"), job
        return Outcome("the next child read the study")
    assert (job["state"], job["problem"]["code"]) == ("rejected", "undecodable"), job
    expect_result(platform, platform.submit())
    return Outcome("rejected as `undecodable`; worker and gateway live, the next study is answered")


def submit_past(platform: FaultyPlatform) -> uuid.UUID:
    """Submit a study that intake cannot read yet: storage hangs from now on."""
    with platform.paused("worker-intake"):
        job_id = platform.submit()
        platform.storage.conditions = Conditions(hangs=True)
        platform.storage.cut()
    return job_id


def await_child(worker: psutil.Process, dead: set[int]) -> psutil.Process:
    """Return the process that reads a study for a worker, once there is one that is not known as `dead`."""
    found: list[psutil.Process] = []

    def has_child() -> bool:
        nurseries = [child for child in worker.children() if _NURSERY in child.cmdline()]
        found[:] = [child for nursery in nurseries for child in nursery.children() if child.pid not in dead]
        return bool(found)

    wait_until(has_child, "a child reads the study")
    return found[0]


STAGES_KILLED = tuple(WORKER_OF)

ROWS = (
    *(
        Row("F1", "SIGKILL of a worker", f"{stage}, before the lease", partial(kill_before_the_lease, stage))
        for stage in STAGES_KILLED
    ),
    *(Row("F1", "SIGKILL of a worker", f"{stage}, mid-work", partial(kill_mid_work, stage)) for stage in STAGES_KILLED),
    *(
        Row("F1", "SIGKILL of a worker", f"{stage}, written but not committed", partial(kill_before_the_commit, stage))
        for stage in STAGES_KILLED
    ),
    Row("F13", "a model that always fails", "mednext, mid-work", kill_again_and_again),
    *(
        Row("F14", "SIGTERM of a worker", f"{stage}, mid-work", partial(terminate_mid_work, stage))
        for stage in STAGES_KILLED
    ),
    Row("F14", "deploy during load", "all processes", deploy_under_load),
    Row("F15", "SIGSEGV of the decoder, once", "intake child", partial(crash_the_decoder, 1)),
    Row("F15", "SIGSEGV of the decoder, twice", "intake child", partial(crash_the_decoder, 2), is_quick=True),
)
