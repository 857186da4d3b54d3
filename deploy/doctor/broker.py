"""The broker: reachable, takes a message and gives it back, and has our queues as we want them."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from queue import Empty
from typing import Any
from urllib.parse import urlsplit

from amqp.exceptions import AMQPError
from celery import Celery
from kombu.exceptions import ChannelError, KombuError
from redis import Redis
from redis.exceptions import RedisError

from deploy.doctor.finding import Finding, broken, fine, odd
from deploy.doctor.reaching import Address, explain_silence
from shared.errors import TransientFault
from shared.settings import Settings
from shared.stages import STAGES
from workers.runtime.celery_app import count_all_messages

_FAULTS = (KombuError, AMQPError, RedisError, ChannelError, OSError, Empty)
_PATIENCE_S = 5.0
_PORTS = {"amqp": 5672, "amqps": 5671}
_REDIS_PORT = 6379
_START = "Start the broker, or mend CTCLIP_BROKER_URL. Studies are taken in meanwhile and wait in the database."
_DROPS_NOTHING = "noeviction"


def look_at_broker(app: Celery, settings: Settings) -> Iterator[Finding]:
    """Yield what was found about the broker."""
    url = urlsplit(settings.broker_url.get_secret_value())
    address = Address(url.hostname or "localhost", url.port or _PORTS.get(url.scheme, _REDIS_PORT))
    silence = explain_silence(address)
    if silence is not None:
        yield broken("reachable", f"The broker is out of reach: {silence}.", _START)
        return
    try:
        with app.connection_for_write() as connection:
            connection.ensure_connection(max_retries=1, interval_start=0, interval_step=0)
            _pass_a_probe(connection)
    except _FAULTS as error:
        advice = "Look at user and password in CTCLIP_BROKER_URL, and at the broker's own log: memory, disk, replica."
        yield broken("reachable", f"{address} takes no message: {type(error).__name__} {_quote(error)}", advice)
        return
    yield fine("reachable", f"A message went to {address} and came back.")
    yield _look_at_queues(app)
    if url.scheme not in _PORTS:
        yield from _look_at_memory(settings)


def _pass_a_probe(connection: Any) -> None:  # noqa: ANN401  # kombu has no types
    name = f"ctclip.doctor.{uuid.uuid4().hex}"
    queue = connection.SimpleQueue(name, queue_opts={"durable": False, "auto_delete": True})
    try:
        queue.put({"probe": name}, delivery_mode="transient")
        queue.get(timeout=_PATIENCE_S).ack()
    finally:
        queue.queue.delete()
        queue.close()


def _look_at_queues(app: Celery) -> Finding:
    """Declare every queue as workers do: RabbitMQ refuses one that is there with other options."""
    try:
        with app.connection_for_write() as connection:
            for queue in app.conf.task_queues:
                queue(connection.default_channel).declare()
        waiting = count_all_messages(app)
    except (*_FAULTS, TransientFault) as error:
        advice = "Stop the workers, delete the queue in the broker and start them: the database writes it anew."
        return broken("queues", f"A queue is there with other options than ours: {_quote(error)}", advice)
    told = ", ".join(f"{stage} {count}" for stage, count in waiting.items() if count)
    return fine("queues", f"{len(STAGES)} queues; waiting: {told or 'nothing'}.", messages=sum(waiting.values()))


def _look_at_memory(settings: Settings) -> Iterator[Finding]:
    """Yield whether a Redis or Valkey throws messages away when its memory is full."""
    client = Redis.from_url(settings.broker_url.get_secret_value(), socket_timeout=_PATIENCE_S)
    try:
        told: Any = client.info("memory")
    except RedisError:  # a user who may not ask: then nothing is known, and nothing is said
        return
    finally:
        client.close()
    policy = str(told.get("maxmemory_policy", _DROPS_NOTHING))
    if policy == _DROPS_NOTHING:
        yield fine("memory", "The broker throws no message away when its memory is full.", policy=policy)
    else:
        advice = "Set maxmemory-policy to noeviction. Lost messages are written again, but late."
        yield odd("memory", f"The broker throws messages away when its memory is full ({policy}).", advice)


def _quote(error: Exception) -> str:
    said = str(error).strip().splitlines()
    return said[0] if said else type(error).__name__
