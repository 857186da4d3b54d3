"""What must hold after every fault: nothing lost, nothing twice, nothing left over."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from shared.database import transaction
from shared.states import JobState
from shared.tables import Event, Feature, Job, Result
from tests.faults.platform import FaultyPlatform
from tests.stack.running import wait_until
from workers.control.sweeper import reconcile

_OPEN = (JobState.QUEUED, JobState.RUNNING)
_WITH_RESULT = [state for state in JobState if state.has_result]


@dataclass(frozen=True)
class Account:
    """The books after a fault."""

    jobs: int
    results: int
    left_objects: int
    """Objects that a killed writer left without a row; the sweep removes them hours later, here they are at once."""


def check_invariants(platform: FaultyPlatform) -> Account:
    """Wait until the platform is whole and idle, and hold objects, rows and messages against each other."""
    wait_until(platform.is_whole, "every process is ready")
    wait_until(lambda: _count_open(platform) == 0, "every job ends")
    engine = platform.stack.engine
    wait_until(lambda: reconcile(engine, platform.store, platform.app).messages == 0, "no message is left over")
    left = reconcile(engine, platform.store, platform.app).objects
    for key in left:  # what the sweep does hours later
        platform.store.remove(key)
    found = reconcile(engine, platform.store, platform.app)
    assert found.is_clean, found
    wait_until(lambda: not _list_scratch(platform), "no scratch file is left", 10)
    with transaction(engine) as session:
        return _check_rows(session, len(left))


def _check_rows(session: Session, left: int) -> Account:
    jobs = session.scalar(select(func.count()).select_from(Job)) or 0
    answered = session.scalars(select(Job.id).where(Job.state.in_(_WITH_RESULT))).all()
    results = session.scalars(select(Result.job_id)).all()
    assert sorted(results) == sorted(answered), "exactly one result for each completed job"
    ends = (
        select(Event.job_id, func.count())
        .where(Event.type == "job.state", Event.state.not_in(_OPEN))
        .group_by(Event.job_id)
    )
    ended = {job_id: count for job_id, count in session.execute(ends)}  # noqa: C416  # rows are no pairs to mypy
    assert len(ended) == jobs
    assert set(ended.values()) <= {1}, "a job ended twice"
    features = session.execute(select(Feature.job_id, Feature.stage)).all()
    assert len(features) == len(set(features))
    return Account(jobs, len(results), left)


def _count_open(platform: FaultyPlatform) -> int:
    with transaction(platform.stack.engine) as session:
        return session.scalar(select(func.count()).select_from(Job).where(Job.state.in_(_OPEN))) or 0


def _list_scratch(platform: FaultyPlatform) -> list[str]:
    """Return the files of stages in work; each worker's own folder is empty between stages."""
    return [str(path) for path in (platform.cache / "scratch").glob("*/*")]
