"""Leases on a real database: one owner at a time, fenced by the token."""

from __future__ import annotations

import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta

import pytest
from sqlalchemy import Engine, event, func, text, update
from structlog.testing import capture_logs

from shared.database import make_engine, transaction
from shared.errors import StaleLease
from shared.settings import Settings
from shared.stages import StageName
from shared.states import JobState, StageState
from shared.tables import Job, StageRun
from tests.stack.running import wait_until
from tests.workers.runtime.conftest import JobMaker
from workers.runtime.heartbeat import Heartbeat
from workers.runtime.lease import Lease, claim, end_lease, release, renew

DURATION = timedelta(seconds=30)


def take(engine: Engine, job_id: uuid.UUID, worker: str = "worker-1") -> Lease | None:
    with transaction(engine) as session:
        return claim(session, job_id, StageName.INTAKE, worker=worker, duration=DURATION)


def get_lease(engine: Engine, job_id: uuid.UUID, worker: str = "worker-1") -> Lease:
    lease = take(engine, job_id, worker)
    assert lease is not None
    return lease


class TestClaim:
    def test_the_first_claim_wins_and_starts_the_job(self, engine: Engine, make_job: JobMaker) -> None:
        job_id = make_job()
        assert get_lease(engine, job_id).attempt == 1
        with transaction(engine) as session:
            assert session.get_one(Job, job_id).state is JobState.RUNNING

    def test_twenty_claims_at_once_give_one_lease(self, engine: Engine, make_job: JobMaker) -> None:
        job_id = make_job()
        with ThreadPoolExecutor(5) as pool:
            leases = list(pool.map(lambda number: take(engine, job_id, f"worker-{number}"), range(20)))
        assert sum(lease is not None for lease in leases) == 1

    def test_a_stage_that_is_not_ready_is_not_claimed(self, engine: Engine, make_job: JobMaker) -> None:
        job_id = make_job()
        with transaction(engine) as session:
            assert claim(session, job_id, StageName.MEDNEXT, worker="w", duration=DURATION) is None

    def test_a_retry_that_is_not_due_is_not_claimed(self, engine: Engine, make_job: JobMaker) -> None:
        job_id = make_job()
        with transaction(engine) as session:
            session.execute(
                update(StageRun)
                .where(StageRun.job_id == job_id)
                .values(next_attempt_at=func.now() + timedelta(minutes=1))
            )
        assert take(engine, job_id) is None

    def test_after_a_defect_another_worker_is_preferred(self, engine: Engine, make_job: JobMaker) -> None:
        job_id = make_job(avoid_worker="worker-1")
        assert take(engine, job_id, "worker-1") is None
        assert take(engine, job_id, "worker-2") is not None


def make_quick(settings: Settings) -> Settings:
    return settings.model_copy(update={"lease_duration": timedelta(seconds=0.3)})


class TestTheHeartbeat:
    def test_outlives_a_server_that_takes_no_writes_and_leaves_it(
        self, settings: Settings, engine: Engine, make_job: JobMaker
    ) -> None:
        lease = get_lease(engine, make_job())
        own = make_engine(settings, pool_size=1)
        with own.connect() as connection:
            connection.execute(text("SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY"))
            connection.commit()
        self.assert_renews(Heartbeat(own, make_quick(settings)), engine, lease)

    def test_outlives_what_nobody_thought_of(self, settings: Settings, engine: Engine, make_job: JobMaker) -> None:
        lease = get_lease(engine, make_job())
        own = make_engine(settings, pool_size=1)
        refused: list[str] = []

        def refuse_once(connection: object, cursor: object, statement: str, *_: object) -> None:
            if statement.startswith("UPDATE stage_runs") and not refused:
                refused.append(statement)
                raise RuntimeError("a bug")

        event.listen(own, "before_cursor_execute", refuse_once)
        heartbeat = Heartbeat(own, make_quick(settings))
        with capture_logs() as logs:
            self.assert_renews(heartbeat, engine, lease)
            refused.clear()
            with heartbeat.keep(lease):
                heartbeat.release_all()  # as a process does that must stop: no bug keeps it from its end
                heartbeat.release_all()
        assert [log["event"] for log in logs] == ["heartbeat broke off", "release broke off", "stage released"]
        assert get_lease(engine, lease.job_id, "worker-2")

    def assert_renews(self, heartbeat: Heartbeat, engine: Engine, lease: Lease) -> None:
        with transaction(engine) as session:
            before = session.get_one(StageRun, (lease.job_id, lease.stage)).lease_expires_at
        heartbeat.start()
        with heartbeat.keep(lease):
            wait_until(lambda: self.is_renewed(engine, lease, before), "the lease is renewed", 10)
        heartbeat.stop()

    def is_renewed(self, engine: Engine, lease: Lease, before: datetime | None) -> bool:
        with transaction(engine) as session:
            return session.get_one(StageRun, (lease.job_id, lease.stage)).lease_expires_at != before


class TestFencing:
    def test_an_old_token_changes_nothing(self, engine: Engine, make_job: JobMaker) -> None:
        job_id = make_job()
        old = get_lease(engine, job_id)
        with transaction(engine) as session:
            assert release(session, old)
        new = get_lease(engine, job_id, "worker-2")
        with pytest.raises(StaleLease), transaction(engine) as session:
            end_lease(session, old, StageState.SUCCEEDED)
        with transaction(engine) as session:
            assert session.get_one(StageRun, (job_id, StageName.INTAKE)).lease_token == new.token

    def test_a_lost_lease_is_not_renewed(self, engine: Engine, make_job: JobMaker) -> None:
        lease = get_lease(engine, make_job())
        with transaction(engine) as session:
            assert renew(session, lease, DURATION)
            assert release(session, lease)
            assert not renew(session, lease, DURATION)

    def test_a_stage_past_its_time_limit_is_not_renewed(self, engine: Engine, make_job: JobMaker) -> None:
        lease = get_lease(engine, make_job())
        with transaction(engine) as session:
            session.execute(
                update(StageRun)
                .where(StageRun.job_id == lease.job_id)
                .values(deadline_at=func.now() - timedelta(seconds=1))
            )
        with transaction(engine) as session:
            assert not renew(session, lease, DURATION)
