"""Valkey and RabbitMQ carry the same messages in the same order."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from celery import Celery

from shared.settings import Settings
from shared.stages import STAGES, StageName
from tests.stack.running import wait_until
from workers.runtime.celery_app import count_messages, make_celery, publish

STAGE = StageName.DELIVERY
"""Nothing of the tests beside this one sends messages of it."""


@pytest.fixture(params=["settings", "rabbitmq"])
def app(request: pytest.FixtureRequest, settings: Settings) -> Iterator[Celery]:
    """The application on each broker; its queue is empty before and afterwards."""
    if request.param == "rabbitmq":
        url = request.getfixturevalue("rabbitmq").url
        settings = Settings.model_validate({**settings.model_dump(), "broker_url": url})
    with make_celery(settings) as app:
        take_all(app)
        yield app
        take_all(app)


def take_all(app: Celery) -> list[str]:
    """Take every message and return the jobs that they are about."""
    with app.connection_for_read() as connection:
        queue = app.amqp.queues[STAGES[STAGE].queue].bind(connection.default_channel)
        queue.declare()
        taken = []
        while (message := queue.get(no_ack=True)) is not None:
            taken.append(message.payload[0][0])
        return taken


def send(app: Celery, *priorities: int) -> list[str]:
    """Send one message of each priority and return their jobs."""
    jobs = [uuid.uuid4() for _ in priorities]
    for job, priority in zip(jobs, priorities, strict=True):
        publish(app, job, STAGE, priority)
    return [str(job) for job in jobs]


class TwoQueues:
    """Two queues that nobody else knows, on a connection with the application's own options."""

    def __init__(self, connection: Any) -> None:  # noqa: ANN401  # kombu has no types
        self._connection = connection
        self._producer = connection.Producer()
        self._queues = [connection.SimpleQueue(f"tests.{uuid.uuid4()}").queue for _ in range(2)]

    def send(self, *numbers: int, body: str, priority: int = 4) -> None:
        """Send a message to each of the queues of these numbers."""
        for number in numbers:
            self._producer.publish(body, routing_key=self._queues[number].name, priority=priority)

    def take(self, count: int) -> list[str]:
        """Take so many messages as a worker does: the next one when the last is acknowledged."""
        taken: list[str] = []

        def note(body: str, message: Any) -> None:  # noqa: ANN401  # kombu has no types
            taken.append(body)
            message.ack()

        with self._connection.Consumer(self._queues, callbacks=[note], prefetch_count=1):
            while len(taken) < count:
                self._connection.drain_events(timeout=5)
        return taken

    def remove(self) -> None:
        """Leave nothing on the broker."""
        for queue in self._queues:
            queue.delete()


@pytest.fixture
def two_queues(settings: Settings) -> Iterator[TwoQueues]:
    """Two queues on the broker of the settings."""
    with make_celery(settings) as app, app.connection_for_read() as connection:
        queues = TwoQueues(connection)
        yield queues
        queues.remove()


class TestWorkerOfSeveralStages:
    """On Redis the client chooses the queue; RabbitMQ serves all consumers in turn by itself."""

    def test_takes_from_each_queue_in_turn_so_that_none_waits_until_others_are_empty(
        self, two_queues: TwoQueues
    ) -> None:
        for study in ("first", "second", "third"):
            two_queues.send(0, 1, body=study)
        assert two_queues.take(6) == ["first", "first", "second", "second", "third", "third"]

    def test_takes_what_is_urgent_before_that(self, two_queues: TwoQueues) -> None:
        two_queues.send(0, 1, body="ordinary")
        two_queues.send(1, 1, body="urgent", priority=0)
        assert two_queues.take(4) == ["urgent", "urgent", "ordinary", "ordinary"]


class TestEveryBroker:
    def test_gives_the_highest_priority_first_and_keeps_the_order_within_one(self, app: Celery) -> None:
        low, first, second, high = send(app, 0, 5, 5, 9)
        assert take_all(app) == [high, first, second, low]

    def test_tells_how_many_messages_wait(self, app: Celery) -> None:
        assert count_messages(app, STAGE) == 0
        send(app, 0, 5, 9)
        wait_until(lambda: count_messages(app, STAGE) == 3, "three messages wait", 10)

    def test_counts_none_where_there_is_no_queue(self, app: Celery) -> None:
        with app.connection_for_read() as connection:
            app.amqp.queues[STAGES[STAGE].queue].bind(connection.default_channel).delete()
        assert count_messages(app, STAGE) == 0

    def test_has_a_message_before_publishing_returns(self, app: Celery) -> None:
        """A message in a queue that is declared by nobody else is not thrown away either."""
        with app.connection_for_read() as connection:
            app.amqp.queues[STAGES[STAGE].queue].bind(connection.default_channel).delete()
        assert take_all(app) == []
        sent = send(app, 3)
        assert take_all(app) == sent
