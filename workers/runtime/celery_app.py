"""All of Celery: settings, queues and a task for each stage. Celery carries only "look at stage X of job Y".

Our leases decide who works, so a message may come twice, late or never: a duplicate finds nothing to claim, and
the reaper writes a lost one again. No countdown, ETA or result backend is used.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from typing import Any

from amqp.exceptions import AMQPError
from celery import Celery
from celery.exceptions import CeleryError
from kombu.entity import Queue
from kombu.exceptions import ChannelError, OperationalError
from opentelemetry.trace import SpanKind

from shared.errors import TransientFault
from shared.problems import ProblemCode
from shared.settings import Settings
from shared.stages import STAGES, StageDefinition, StageName
from shared.tracing import TRACEPARENT, make_trace_headers, start_span

HIGHEST_PRIORITY = 9
"""Of jobs, and of AMQP; Redis counts the other way round (0 first), so `publish` turns it over there."""

_LONGEST_STAGE: timedelta = max(stage.time_limit for stage in STAGES.values())
# A message that is redelivered while its stage still runs is only noise: stay clear of the longest stage.
_VISIBILITY_TIMEOUT = 2 * _LONGEST_STAGE
_LOST_WORKER_RETRIES = 2
_SOCKET_TIMEOUT_S = 5

_REDIS_OPTIONS: Mapping[str, object] = {
    "visibility_timeout": _VISIBILITY_TIMEOUT.total_seconds(),
    "priority_steps": list(range(HIGHEST_PRIORITY + 1)),
    # Urgent messages first, whatever their queue; else each queue in turn, so that none waits until others are empty.
    "queue_order_strategy": "round_robin",
    "socket_timeout": 2 * _SOCKET_TIMEOUT_S,
    "socket_connect_timeout": _SOCKET_TIMEOUT_S,
    "health_check_interval": 10,
}
# The relay forgets a message once it is sent, so the broker must say that it has it.
_AMQP_OPTIONS: Mapping[str, object] = {"confirm_publish": True}

StageHandler = Callable[[uuid.UUID, StageName, str | None], None]
"""Looks at a stage of a job; the last is the `traceparent` of the message."""


def make_celery(settings: Settings) -> Celery:
    """Return the configured application; `stage_tasks` adds the tasks on the worker's side.

    The scheme of the broker's address decides: `amqp` is RabbitMQ, everything else speaks as Redis and Valkey do.
    """
    url = settings.broker_url.get_secret_value()
    app = Celery("ctclip", broker=url)
    app.conf.update(
        task_queues=[_make_queue(stage) for stage in STAGES.values()],
        task_create_missing_queues=False,
        task_acks_late=True,
        task_reject_on_worker_lost=False,
        task_ignore_result=True,
        task_serializer="json",
        accept_content=["json"],
        worker_prefetch_multiplier=1,
        worker_send_task_events=True,
        task_send_sent_event=True,
        worker_hijack_root_logger=False,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        broker_connection_retry_on_startup=True,
        broker_connection_timeout=_SOCKET_TIMEOUT_S,
        broker_transport_options=dict(_AMQP_OPTIONS if _is_amqp(url) else _REDIS_OPTIONS),
    )
    return app


def _is_amqp(url: str) -> bool:
    return url.startswith(("amqp://", "amqps://"))


def _make_queue(stage: StageDefinition) -> Queue:
    # RabbitMQ orders a queue by priority only where the queue says so; Redis does not look at it.
    return Queue(stage.queue, routing_key=stage.queue, max_priority=HIGHEST_PRIORITY)  # type: ignore[no-untyped-call]  # kombu has no types


def name_task(stage: StageName) -> str:
    """Return the name under which Flower and the broker know a stage."""
    return f"ctclip.{stage}"


def stage_tasks(app: Celery, handle: StageHandler) -> None:
    """The house decorator: the only way in which a function becomes a task, with all policy in one place."""
    for stage in STAGES:
        _add_task(app, handle, stage)


def _add_task(app: Celery, handle: StageHandler, stage: StageName) -> None:
    def run_stage(task: Any, job_id: str) -> None:  # noqa: ANN401  # Celery has no types
        handle(uuid.UUID(job_id), stage, (task.request.headers or {}).get(TRACEPARENT))

    app.task(
        run_stage,
        name=name_task(stage),
        bind=True,
        acks_late=True,
        retry_on_worker_lost=True,
        max_retries=_LOST_WORKER_RETRIES,
        ignore_result=True,
    )


def publish(app: Celery, job_id: uuid.UUID, stage: StageName, priority: int, traceparent: str | None = None) -> None:
    """Hand one message to the broker. Raises TransientFault when it cannot be reached."""
    facts = {"ctclip.job_id": str(job_id), "ctclip.stage": str(stage)}
    with start_span(f"publish {stage}", traceparent=traceparent, kind=SpanKind.PRODUCER, attributes=facts):
        try:
            app.send_task(
                name_task(stage),
                args=(str(job_id),),
                queue=STAGES[stage].queue,
                priority=priority if _is_amqp(app.conf.broker_url) else HIGHEST_PRIORITY - priority,
                headers=make_trace_headers(),
                retry=False,
                confirm_timeout=_SOCKET_TIMEOUT_S,
            )
        except (OperationalError, CeleryError, AMQPError, OSError) as error:
            raise TransientFault(ProblemCode.BROKER_UNAVAILABLE, f"broker: {type(error).__name__}") from error


def make_worker_arguments(name: str, stages: Iterable[StageName], concurrency: int) -> list[str]:
    """Return the arguments of Celery's worker command: threads, since stages start processes and share models."""
    queues = ",".join(STAGES[stage].queue for stage in stages)
    return [
        "worker",
        "--pool=threads",
        f"--concurrency={concurrency}",
        f"--queues={queues}",
        f"--hostname={name}@%h",
        "--without-gossip",
        "--without-mingle",
        "--loglevel=WARNING",
    ]


def count_messages(app: Celery, stage: StageName) -> int:
    """Return how many messages of a stage wait in the broker, over all priorities; those under way are not counted."""
    with app.connection_for_read() as connection:
        return _count(connection, stage)


def count_all_messages(app: Celery) -> Mapping[StageName, int]:
    """Return `count_messages` of every stage. Raises TransientFault when the broker cannot be reached."""
    connection = app.connection_for_read()
    try:
        with connection:
            return {stage: _count(connection, stage) for stage in STAGES}
    except (*connection.connection_errors, OperationalError, AMQPError, OSError) as error:
        raise TransientFault(ProblemCode.BROKER_UNAVAILABLE, f"broker: {type(error).__name__}") from error


def _count(connection: Any, stage: StageName) -> int:  # noqa: ANN401  # kombu has no types
    try:
        with connection.channel() as channel:  # RabbitMQ closes it at an unknown queue
            return int(channel.queue_declare(STAGES[stage].queue, passive=True).message_count)
    except ChannelError:  # there is no such queue: Redis keeps no empty ones, RabbitMQ none that nobody declared
        return 0
