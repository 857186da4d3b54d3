"""A job that ends while one of its stages runs: the stage stops soon, and what it found is dropped."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable

import torch
from sqlalchemy import Engine, func, select, update
from torch import nn

from shared.database import transaction
from shared.endings import end_job, lock_open_job
from shared.events import EventType
from shared.settings import Settings
from shared.stages import StageName
from shared.states import JobState, StageState
from shared.storage import ObjectStore
from shared.tables import Event, Job, StageRun
from tests.stack.running import wait_until
from tests.workers.runtime.conftest import JobMaker
from workers.model_host.interruption import make_networks_interruptible
from workers.runtime.heartbeat import Heartbeat
from workers.runtime.runner import StageRunner
from workers.runtime.stage import StageContext, StageOutput

STOPS_WITHIN_S = 5.0
LONG_S = 60.0


class LongIntake:
    """Works for a minute unless it is stopped."""

    name = StageName.INTAKE

    def __init__(self, step: Callable[[StageContext], object]) -> None:
        self._step = step
        self.began = threading.Event()

    def run(self, context: StageContext) -> StageOutput:
        deadline = time.monotonic() + LONG_S
        while time.monotonic() < deadline:
            self._step(context)
            self.began.set()
            time.sleep(0.01)
        return StageOutput()


def cancel(engine: Engine, job_id: uuid.UUID) -> None:
    with transaction(engine) as session:
        job = lock_open_job(session, job_id)
        assert job is not None
        end_job(session, job, JobState.CANCELLED)


def run_and_cancel(
    stage: LongIntake, engine: Engine, settings: Settings, store: ObjectStore, job_id: uuid.UUID
) -> float:
    """Cancel the job while the stage runs; return how many seconds it went on."""
    heartbeat = Heartbeat(engine, settings)  # never started: the lease is not what tells
    runner = StageRunner([stage], settings, engine=engine, store=store, heartbeat=heartbeat, worker="cancel-tests")
    thread = threading.Thread(target=runner.run, args=(job_id, StageName.INTAKE))
    thread.start()
    wait_until(stage.began.is_set, "the stage runs")
    cancelled_at = time.monotonic()
    cancel(engine, job_id)
    thread.join(LONG_S)
    return time.monotonic() - cancelled_at


def fetch_states(engine: Engine, job_id: uuid.UUID) -> tuple[JobState, StageState]:
    with transaction(engine) as session:
        job, run = session.get_one(Job, job_id), session.get_one(StageRun, (job_id, StageName.INTAKE))
        return job.state, run.state


class TestACancelledStage:
    def test_stops_when_it_next_reports(
        self, engine: Engine, settings: Settings, store: ObjectStore, make_job: JobMaker
    ) -> None:
        job_id = make_job()
        stage = LongIntake(lambda context: context.report(0.5))
        assert run_and_cancel(stage, engine, settings, store, job_id) < STOPS_WITHIN_S
        assert fetch_states(engine, job_id) == (JobState.CANCELLED, StageState.CANCELLED)

    def test_stops_inside_a_network_that_reports_nothing(
        self, engine: Engine, settings: Settings, store: ObjectStore, make_job: JobMaker
    ) -> None:
        make_networks_interruptible()
        network, values = nn.Sequential(nn.Linear(2, 2), nn.ReLU()), torch.zeros(1, 2)
        job_id = make_job()
        stage = LongIntake(lambda _: network(values))
        assert run_and_cancel(stage, engine, settings, store, job_id) < STOPS_WITHIN_S
        assert fetch_states(engine, job_id) == (JobState.CANCELLED, StageState.CANCELLED)
        assert network(values).shape == (1, 2)  # outside of a stage nothing is looked for

    def test_stops_when_somebody_else_has_its_lease(
        self, engine: Engine, settings: Settings, store: ObjectStore, make_job: JobMaker
    ) -> None:
        job_id = make_job()

        def lose(context: StageContext) -> None:
            context.report(0.5)
            with transaction(engine) as session:
                session.execute(update(StageRun).where(StageRun.job_id == job_id).values(lease_token=uuid.uuid4()))

        heartbeat = Heartbeat(engine, settings)
        stage = LongIntake(lose)
        runner = StageRunner([stage], settings, engine=engine, store=store, heartbeat=heartbeat, worker="cancel-tests")
        began = time.monotonic()
        runner.run(job_id, StageName.INTAKE)
        assert time.monotonic() - began < STOPS_WITHIN_S


class TestProgress:
    def test_is_told_at_most_twice_a_second(
        self, engine: Engine, settings: Settings, store: ObjectStore, make_job: JobMaker
    ) -> None:
        job_id = make_job()
        began = time.monotonic()
        run_and_cancel(LongIntake(lambda context: context.report(0.5)), engine, settings, store, job_id)
        told = select(func.count()).where(Event.job_id == job_id, Event.type == EventType.STAGE_PROGRESS)
        with transaction(engine) as session:
            assert 1 <= (session.scalar(told) or 0) <= 2 * (time.monotonic() - began) + 1
