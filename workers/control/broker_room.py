"""How much the broker is given at a time: enough that no worker waits, and the rest stays in order in the database."""

from __future__ import annotations

import time
from dataclasses import dataclass

from amqp.exceptions import AMQPError
from celery import Celery
from kombu.exceptions import ChannelError, KombuError
from redis.exceptions import RedisError

from shared.errors import TransientFault
from shared.problems import ProblemCode
from shared.stages import STAGES, StageName

_MEASURED_FOR_S = 2.0
_MEASURED_AGAIN_S = 0.2


@dataclass
class _Depth:
    messages: int
    measured_at: float


class BrokerRoom:
    """The room that is left for messages of each stage. Each level has some that lower ones cannot take."""

    def __init__(self, app: Celery, window: int) -> None:
        self._app = app
        self._window = window
        self._depths: dict[StageName, _Depth] = {}

    def has_room(self, stage: StageName, level: int) -> bool:
        """Say whether a message may be sent. Raises TransientFault when the broker is away."""
        limit = self._window * (10 + level) // 10
        is_full = self._measure(stage, _MEASURED_FOR_S).messages >= limit
        return not is_full or self._measure(stage, _MEASURED_AGAIN_S).messages < limit

    def take(self, stage: StageName, level: int) -> bool:
        """Take room for a message; False where there is none. Raises TransientFault when the broker is away."""
        if not self.has_room(stage, level):
            return False
        self._depths[stage].messages += 1
        return True

    def is_empty(self, stage: StageName) -> bool:
        """Say whether no message of a stage waits in the broker. Raises TransientFault when it is away."""
        return self._measure(stage, _MEASURED_FOR_S).messages == 0

    def _measure(self, stage: StageName, patience_s: float) -> _Depth:
        depth, now = self._depths.get(stage), time.monotonic()
        if depth is None or now - depth.measured_at > patience_s:
            depth = self._depths[stage] = _Depth(count_waiting(self._app, stage), now)
        return depth


def count_waiting(app: Celery, stage: StageName) -> int:
    """Return how many messages of a stage wait in the broker. Raises TransientFault when it cannot be reached."""
    try:
        with app.connection_for_read() as connection:
            connection.ensure_connection(max_retries=1, interval_start=0, interval_step=0)
            return int(connection.default_channel.queue_declare(STAGES[stage].queue, passive=True).message_count)
    except ChannelError:  # there is no such queue yet
        return 0
    except (KombuError, AMQPError, RedisError, OSError) as error:
        raise TransientFault(ProblemCode.BROKER_UNAVAILABLE, f"broker: {type(error).__name__}") from error
