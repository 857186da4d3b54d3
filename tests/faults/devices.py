"""F2, F3 and F13: a device that runs out of memory or fails, and a model that always does.

The errors are those that PyTorch raises, inside a stage of a real worker; there is no device.
"""

from __future__ import annotations

import time
from functools import partial

from sqlalchemy import select

from shared.database import transaction
from shared.stages import StageName
from shared.states import StageState
from shared.tables import DeadLetter
from tests.faults.fault_file import ONCE
from tests.faults.platform import FaultyPlatform
from tests.faults.row import Outcome, Row, await_recovery, expect_result
from tests.stack.running import wait_until

_WORKER = "worker-models"


def fail_once(fault: str, platform: FaultyPlatform) -> Outcome:
    before = platform.find(_WORKER)
    platform.fault_file.write_text(fault + ONCE)
    job_id = platform.submit()
    wait_until(lambda: not platform.fault_file.exists(), "the model meets the fault")
    since = time.monotonic()
    recovery_s = await_recovery(platform, job_id, StageName.MEDNEXT, since)
    run = platform.fetch_run(job_id, StageName.MEDNEXT)
    assert (run.attempt, run.defects, run.lost_workers) == (2, 1, 0)
    assert not before.is_running(), "the process that met the fault took more work"
    expect_result(platform, job_id)
    return Outcome("the process ended after its work; the next one took the stage", recovery_s)


def fail_always(fault: str, reason: str, platform: FaultyPlatform) -> Outcome:
    platform.fault_file.write_text(fault)
    job_id = platform.submit(models="mednext,supervised")
    since = time.monotonic()
    try:
        run = platform.await_state(job_id, StageName.MEDNEXT, StageState.FAILED)
    finally:
        platform.fault_file.unlink()
    recovery_s = time.monotonic() - since
    assert (run.attempt, run.reason) == (2, reason)
    job = platform.wait_for_end(job_id)
    assert job["state"] == "completed_partial", job
    with transaction(platform.stack.engine) as session:
        session.scalars(select(DeadLetter).where(DeadLetter.job_id == job_id)).one()
    wait_until(platform.is_whole, "the next process is ready")
    expect_result(platform, platform.submit())
    return Outcome(f"after two tries failed as `{reason}`, with a dead letter; the other model answered", recovery_s)


ROWS = (
    Row("F2", "out of memory, once", "mednext", partial(fail_once, "out_of_memory"), is_quick=True),
    Row(
        "F2",
        "out of memory, always",
        "mednext",
        partial(fail_always, "out_of_memory", "memory_insufficient"),
    ),
    Row("F3", "device failed", "mednext", partial(fail_once, "device_failed")),
    Row("F13", "a bug of the model", "mednext", partial(fail_always, "defect", "internal_error")),
)
