"""The relay on a real database and a real broker: in turn, no more than there is room for, and nothing lost."""

from __future__ import annotations

import socket
import uuid
from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest
from celery import Celery
from pydantic import SecretStr
from sqlalchemy import Engine, func, select, update

from shared.database import transaction
from shared.errors import StaleLease, TransientFault
from shared.outbox import publish_stages
from shared.settings import Settings
from shared.stages import StageName
from shared.states import StageState
from shared.tables import Event, Job, Outbox, StageRun
from shared.turns import PRIORITY_STEP
from tests.workers.control.own_database import own_database
from tests.workers.runtime.conftest import JobMaker, make_job
from workers.control.broker_room import count_waiting
from workers.control.reaper import Reaper
from workers.control.relay import Relay
from workers.runtime.celery_app import make_celery
from workers.runtime.lease import claim, release, renew, require_lapsed

__all__ = ["make_job"]  # the fixture of the runtime's tests serves here too

INTAKE = StageName.INTAKE
LEASE = timedelta(seconds=30)
NORMAL, URGENT = 5, 9
Submitter = Callable[..., uuid.UUID]


@pytest.fixture(scope="module")
def owned(settings: Settings) -> Iterator[tuple[Settings, Engine]]:
    with own_database(settings) as made:
        yield made


@pytest.fixture(scope="module")
def engine(owned: tuple[Settings, Engine]) -> Engine:
    return owned[1]


@pytest.fixture
def relaying(owned: tuple[Settings, Engine]) -> Settings:
    """Settings of a platform with room for four messages, an empty outbox and a part of the broker that is empty."""
    settings, engine = owned
    broker = settings.broker_url.get_secret_value().rsplit("/", 1)[0] + "/7"
    with transaction(engine) as session:
        session.query(Outbox).delete()
        session.query(StageRun).where(StageRun.state == StageState.READY).update({"state": StageState.CANCELLED})
    own = settings.model_copy(update={"broker_url": SecretStr(broker), "broker_window": 4})
    with make_celery(own) as app, app.connection_for_write() as connection:
        connection.default_channel.client.flushdb()
    return own


@pytest.fixture
def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


@pytest.fixture
def app(relaying: Settings) -> Iterator[Celery]:
    with make_celery(relaying) as made:
        yield made


@pytest.fixture
def submit(engine: Engine, make_job: JobMaker) -> Submitter:
    """Return a function that leaves a message for a new job, as if it had waited for some time."""

    def make(priority: int = NORMAL, waited: timedelta = timedelta(0)) -> uuid.UUID:
        job_id = make_job()
        with transaction(engine) as session:
            turn = func.now() - waited - priority * PRIORITY_STEP
            session.execute(update(Job).where(Job.id == job_id).values(priority=priority, turn_at=turn))
        with transaction(engine) as session:
            publish_stages(session, job_id, [INTAKE], priority=priority)
        return job_id

    return make


def fetch_waiting(engine: Engine) -> list[uuid.UUID]:
    with transaction(engine) as session:
        return list(session.scalars(select(Outbox.job_id).order_by(Outbox.turn_at, Outbox.id)))


def fetch_run(engine: Engine, job_id: uuid.UUID) -> StageRun:
    with transaction(engine) as session:
        return session.get_one(StageRun, (job_id, INTAKE))


class TestRoom:
    def test_what_the_broker_has_no_room_for_waits_in_the_database(
        self, engine: Engine, relaying: Settings, app: Celery, submit: Submitter
    ) -> None:
        jobs = [submit() for _ in range(8)]
        relay = Relay(engine, app, relaying)
        relay.relay_batch()
        relay.relay_batch()
        assert (count_waiting(app, INTAKE), fetch_waiting(engine)) == (6, jobs[6:])

    def test_urgent_messages_find_room_that_others_may_not_take(
        self, engine: Engine, relaying: Settings, app: Celery, submit: Submitter
    ) -> None:
        jobs = [submit() for _ in range(8)]
        relay = Relay(engine, app, relaying)
        relay.relay_batch()
        urgent = submit(URGENT)
        relay.relay_batch()
        assert urgent not in fetch_waiting(engine)
        assert fetch_waiting(engine) == jobs[6:]


class TestTurns:
    def test_who_has_waited_for_long_comes_before_the_urgent(
        self, engine: Engine, relaying: Settings, app: Celery, submit: Submitter
    ) -> None:
        urgent, old, new = submit(URGENT), submit(0, waited=10 * PRIORITY_STEP), submit(0)
        assert fetch_waiting(engine) == [old, urgent, new]
        Relay(engine, app, relaying).relay_batch()
        with app.connection_for_read() as connection:
            lengths = [
                connection.default_channel.client.llen(name) for name in ("ctclip.intake", "ctclip.intake\x06\x169")
            ]
        assert lengths == [2, 1]  # the broker holds both first ones as most urgent


class TestABrokerThatIsAway:
    def test_takes_nothing_and_gets_everything_afterwards(
        self, engine: Engine, relaying: Settings, app: Celery, submit: Submitter, closed_port: int
    ) -> None:
        jobs = [submit() for _ in range(3)]
        away = relaying.model_copy(update={"broker_url": SecretStr(f"redis://127.0.0.1:{closed_port}/0")})
        with make_celery(away) as unreachable, pytest.raises(TransientFault):
            Relay(engine, unreachable, away).relay_batch()
        Reaper(engine, away).reap()
        assert fetch_waiting(engine) == jobs
        Relay(engine, app, relaying).relay_batch()
        assert (count_waiting(app, INTAKE), fetch_waiting(engine)) == (3, [])

    def test_and_that_comes_back_empty_is_told_again(
        self, engine: Engine, relaying: Settings, app: Celery, submit: Submitter
    ) -> None:
        job_id = submit()
        Relay(engine, app, relaying).relay_batch()
        with transaction(engine) as session:
            run = session.get_one(StageRun, (job_id, INTAKE))
            run.published_at, run.look_again_at = func.now() - timedelta(minutes=1), func.now() + timedelta(hours=1)
        Reaper(engine, relaying, app).reap()
        assert fetch_waiting(engine) == []  # the broker has it
        with app.connection_for_write() as connection:
            connection.default_channel.client.flushdb()
        Reaper(engine, relaying, app).reap()
        assert fetch_waiting(engine) == [job_id]


class TestLeases:
    def test_one_that_was_renewed_meanwhile_is_not_taken_back(self, engine: Engine, make_job: JobMaker) -> None:
        job_id = make_job()
        with transaction(engine) as session:
            lease = claim(session, job_id, INTAKE, worker="w", duration=timedelta(0))
        assert lease is not None
        with transaction(engine) as session:
            require_lapsed(session, lease)
        with transaction(engine) as session:
            assert renew(session, lease, LEASE)
        with pytest.raises(StaleLease), transaction(engine) as session:
            require_lapsed(session, lease)

    def test_one_that_is_given_back_is_offered_to_others_at_once(
        self, engine: Engine, relaying: Settings, make_job: JobMaker
    ) -> None:
        job_id = make_job()
        with transaction(engine) as session:
            lease = claim(session, job_id, INTAKE, worker="w", duration=LEASE)
        assert lease is not None
        with transaction(engine) as session:
            assert release(session, lease)
        assert fetch_waiting(engine) == [job_id]
        run = fetch_run(engine, job_id)
        assert (run.state, run.lost_workers) == (StageState.READY, 0)
        with transaction(engine) as session:
            told = session.scalars(select(Event.state).where(Event.job_id == job_id).order_by(Event.id)).all()
        assert told[-1] == StageState.READY
