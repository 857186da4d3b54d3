"""A row of the fault matrix: a fault, where it is injected, and what must come of it."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass

from shared.stages import StageName
from shared.states import StageState
from tests.faults.platform import LEASE_S, FaultyPlatform

RECOVERY_LIMIT_S = LEASE_S + 30


@dataclass(frozen=True)
class Outcome:
    """What happened, in words, and how long it took until the work was done all the same."""

    happened: str
    recovery_s: float | None = None


@dataclass(frozen=True)
class Row:
    """One fault at one place."""

    number: str
    """As in the list of faults, `F1`."""
    fault: str
    place: str
    act: Callable[[FaultyPlatform], Outcome]
    is_quick: bool = False
    """Whether it is among those that every run of the tests takes."""

    @property
    def id(self) -> str:
        """What the row is called on the command line."""
        return f"{self.number}: {self.fault}, {self.place}"


class SkippedRow(Exception):
    """This machine lacks what the fault is made with."""


def await_recovery(platform: FaultyPlatform, job_id: uuid.UUID, stage: StageName, since: float) -> float:
    """Return how many seconds after `since` a stage succeeded; at most its lease and 30 s."""
    platform.await_state(job_id, stage, StageState.SUCCEEDED, limit_s=3 * RECOVERY_LIMIT_S)
    recovery_s = time.monotonic() - since
    assert recovery_s <= RECOVERY_LIMIT_S, f"{stage} recovered after {recovery_s:.1f} s"
    return recovery_s


def expect_result(platform: FaultyPlatform, *job_ids: uuid.UUID) -> None:
    """Check that jobs end with a result."""
    for job_id in job_ids:
        job = platform.wait_for_end(job_id)
        assert str(job["state"]).startswith("completed"), job
