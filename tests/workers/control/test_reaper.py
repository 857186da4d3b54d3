"""The reaper on a real database: nothing that lost its worker or its message stays where it is."""

from __future__ import annotations

import uuid
from datetime import timedelta

from sqlalchemy import Engine, func, select, update

from shared.access_tables import Allowance
from shared.database import transaction
from shared.settings import Settings
from shared.stages import StageName
from shared.states import JobState, StageState
from shared.tables import Job, Outbox, StageRun
from tests.workers.runtime.conftest import JobMaker, make_job
from workers.control.reaper import Reaper
from workers.runtime.lease import claim

__all__ = ["make_job"]  # the fixture of the runtime's tests serves here too

LONG_AGO = timedelta(hours=1)


def change_intake(engine: Engine, job_id: uuid.UUID, **values: object) -> None:
    with transaction(engine) as session:
        session.execute(update(StageRun).where(StageRun.job_id == job_id, StageRun.stage == "intake").values(**values))


def fetch_intake(engine: Engine, job_id: uuid.UUID) -> StageRun:
    with transaction(engine) as session:
        return session.get_one(StageRun, (job_id, StageName.INTAKE))


def count_messages(engine: Engine, job_id: uuid.UUID) -> int:
    with transaction(engine) as session:
        return session.scalar(select(func.count()).select_from(Outbox).where(Outbox.job_id == job_id)) or 0


def let_lease_lapse(engine: Engine, job_id: uuid.UUID) -> None:
    with transaction(engine) as session:
        assert claim(session, job_id, StageName.INTAKE, worker="w", duration=timedelta(seconds=30)) is not None
    change_intake(engine, job_id, lease_expires_at=func.now() - timedelta(seconds=1))


class TestLapsedLeases:
    def test_a_stage_that_lost_its_worker_is_ready_and_published_again(
        self, engine: Engine, settings: Settings, make_job: JobMaker
    ) -> None:
        job_id = make_job(published_at=func.now())
        let_lease_lapse(engine, job_id)
        Reaper(engine, settings).reap()
        run = fetch_intake(engine, job_id)
        assert (run.state, run.lost_workers, count_messages(engine, job_id)) == (StageState.READY, 1, 1)

    def test_a_stage_that_kills_every_worker_fails_in_the_end(
        self, engine: Engine, settings: Settings, make_job: JobMaker
    ) -> None:
        job_id = make_job(lost_workers=settings.lost_worker_limit)
        let_lease_lapse(engine, job_id)
        Reaper(engine, settings).reap()
        with transaction(engine) as session:
            job = session.get_one(Job, job_id)
        assert job.state is JobState.FAILED
        assert job.problem is not None
        assert job.problem["code"] == "worker_lost"

    def test_a_lease_that_holds_is_left_alone(self, engine: Engine, settings: Settings, make_job: JobMaker) -> None:
        job_id = make_job()
        with transaction(engine) as session:
            claim(session, job_id, StageName.INTAKE, worker="w", duration=timedelta(seconds=30))
        Reaper(engine, settings).reap()
        assert fetch_intake(engine, job_id).state is StageState.LEASED


class TestMessages:
    def test_a_message_that_the_broker_lost_is_written_again(
        self, engine: Engine, settings: Settings, make_job: JobMaker
    ) -> None:
        job_id = make_job(published_at=func.now() - LONG_AGO, publications=1)
        Reaper(engine, settings).reap()
        assert count_messages(engine, job_id) == 1

    def test_a_message_that_was_just_sent_is_not_sent_again(
        self, engine: Engine, settings: Settings, make_job: JobMaker
    ) -> None:
        job_id = make_job(published_at=func.now(), publications=1)
        Reaper(engine, settings).reap()
        assert count_messages(engine, job_id) == 0

    def test_a_retry_waits_until_it_is_due(self, engine: Engine, settings: Settings, make_job: JobMaker) -> None:
        job_id = make_job()
        change_intake(engine, job_id, next_attempt_at=func.now() + LONG_AGO)
        Reaper(engine, settings).reap()
        assert count_messages(engine, job_id) == 0


class TestDeadlines:
    def test_a_job_past_its_deadline_fails_and_its_stages_are_cancelled(
        self, engine: Engine, settings: Settings, make_job: JobMaker
    ) -> None:
        job_id = make_job()
        with transaction(engine) as session:
            session.execute(update(Job).where(Job.id == job_id).values(deadline_at=func.now() - LONG_AGO))
        Reaper(engine, settings).reap()
        with transaction(engine) as session:
            job = session.get_one(Job, job_id)
        assert job.state is JobState.FAILED
        assert job.problem is not None
        assert job.problem["code"] == "deadline_exceeded"
        assert fetch_intake(engine, job_id).state is StageState.CANCELLED


class TestAllowances:
    def test_of_callers_who_have_asked_for_nothing_for_long_are_forgotten(
        self, engine: Engine, settings: Settings
    ) -> None:
        gone, here = (f"ward-a token:{uuid.uuid4()}" for _ in range(2))
        with transaction(engine) as session:
            session.add(Allowance(caller=gone, spent_until=func.now() - 2 * LONG_AGO))
            session.add(Allowance(caller=here, spent_until=func.now()))
        Reaper(engine, settings).reap()
        with transaction(engine) as session:
            kept = session.scalars(select(Allowance.caller).where(Allowance.caller.in_((gone, here)))).all()
        assert kept == [here]
