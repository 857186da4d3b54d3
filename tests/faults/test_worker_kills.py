"""F1: a worker is killed in the middle of a stage. The job ends all the same, with exactly one result.

The kill is placed exactly: the test holds a lock on a table that the stage writes at its end, so the worker has
done the work, holds the lease and waits inside its last transaction when it dies.
"""

from __future__ import annotations

import os
import signal
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import Engine, func, select, text

from shared.database import transaction
from shared.stages import MODELS, StageName
from shared.states import JobState
from shared.tables import Event, Feature, Job, Result, StageRun
from tests.stack.running import RunningStack, wait_until

CASES = [
    (StageName.INTAKE, "upload_files", "worker-intake"),
    (StageName.CT_CLIP, "features", "worker-models"),
    (StageName.MEDNEXT, "features", "worker-models"),
    (StageName.FUSION, "results", "worker-fusion"),
]


@contextmanager
def writes_blocked(engine: Engine, table: str) -> Iterator[None]:
    """Hold a lock that lets others read a table but not write to it."""
    with engine.connect() as connection, connection.begin() as held:
        connection.execute(text(f"LOCK TABLE {table} IN SHARE MODE"))
        yield
        held.rollback()


def is_blocked(engine: Engine, table: str) -> bool:
    """Whether some transaction waits to write to `table`."""
    query = text("SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = to_regclass(:table)")
    with engine.connect() as connection:
        return bool(connection.scalar(query, {"table": table}))


@pytest.mark.stack
@pytest.mark.parametrize(("stage", "table", "process"), CASES, ids=[case[0] for case in CASES])
class TestKilledWorker:
    def test_the_job_ends_with_exactly_one_result(
        self, stack: RunningStack, phantom_zip: Path, stage: StageName, table: str, process: str
    ) -> None:
        engine = stack.engine
        stack.wait_for_all()  # or another job may be the one that waits to write
        with writes_blocked(engine, table):
            # Of one model, so that no other can be the one that waits to write.
            job_id = stack.submit(phantom_zip, models=stage if stage in MODELS else StageName.MEDNEXT)
            wait_until(lambda: is_blocked(engine, table), f"{stage} reaches its last transaction")
            os.kill(stack.pid(process), signal.SIGKILL)
        job = stack.wait_for_end(job_id)
        assert job["state"] == JobState.COMPLETED_PARTIAL, job
        self._assert_written_once(engine, uuid.UUID(job_id), stage)

    def _assert_written_once(self, engine: Engine, job_id: uuid.UUID, stage: StageName) -> None:
        with transaction(engine) as session:
            assert session.scalar(select(func.count()).select_from(Result).where(Result.job_id == job_id)) == 1
            assert session.get_one(Job, job_id).finished_at is not None
            assert session.get_one(StageRun, (job_id, stage)).attempt >= 2
            features = session.scalars(select(Feature.stage).where(Feature.job_id == job_id)).all()
            assert features
            assert len(features) == len(set(features))
            ended = select(func.count()).where(
                Event.job_id == job_id, Event.type == "job.state", Event.state == JobState.COMPLETED_PARTIAL
            )
            assert session.scalar(ended) == 1
