"""Places in the queue, told from marks: as if they had been counted out."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest
from sqlalchemy import Engine, func, select, update

from gateway.jobs.measurements import fetch_places
from shared.database import transaction
from shared.queue_tables import QueueMark
from shared.settings import Settings
from shared.states import JobState
from shared.tables import Job
from shared.turns import compute_turn
from tests.workers.control.own_database import own_database
from tests.workers.runtime.conftest import JobMaker, make_job
from workers.control.queue_marks import QueueMarks

__all__ = ["make_job"]  # the fixture of the runtime's tests serves here too


@pytest.fixture(scope="module")
def engine(settings: Settings) -> Iterator[Engine]:
    with own_database(settings) as (_, engine):
        yield engine


def fetch_in_queue(engine: Engine, job_ids: list[uuid.UUID]) -> list[tuple[int | None, int]]:
    with transaction(engine) as session:
        places = fetch_places(session, job_ids)
    return [(places[job_id].in_queue, places[job_id].ahead) for job_id in job_ids]


def end_every_job(engine: Engine) -> None:
    with transaction(engine) as session:
        session.execute(update(Job).values(state=JobState.CANCELLED, finished_at=func.now()))


class TestPlaces:
    def test_are_the_same_with_marks_and_without(self, engine: Engine, make_job: JobMaker) -> None:
        end_every_job(engine)
        jobs = [make_job() for _ in range(12)]
        with transaction(engine) as session:
            session.execute(update(Job).where(Job.id == jobs[5]).values(turn_at=compute_turn(9)))
            session.execute(update(Job).where(Job.id.in_(jobs[:2])).values(state=JobState.RUNNING))
        order = [*jobs[:2], jobs[5], *jobs[2:5], *jobs[6:]]
        expected = [(None, 0), (None, 1), *((place, place + 1) for place in range(1, 11))]
        assert fetch_in_queue(engine, order) == expected
        assert QueueMarks(engine).mark(every=3)
        assert fetch_in_queue(engine, order) == expected
        with transaction(engine) as session:
            assert session.scalars(select(QueueMark.place).order_by(QueueMark.place)).all() == [3, 6, 9]

    def test_are_counted_out_once_the_marks_are_old(self, engine: Engine, make_job: JobMaker) -> None:
        QueueMarks(engine).mark(every=1)
        with transaction(engine) as session:
            session.execute(update(QueueMark).values(marked_at=func.now() - func.make_interval(0, 0, 0, 0, 1)))
        end_every_job(engine)
        assert fetch_in_queue(engine, [make_job()]) == [(1, 0)]
