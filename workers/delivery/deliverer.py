"""The loop: claim what is due, send it, write what came of it. Any number of processes may run it."""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import TypeVar

import psycopg2
from opentelemetry.trace import SpanKind
from sqlalchemy import Engine

from shared.database import DELIVERY_CHANNEL, transaction
from shared.errors import TransientFault
from shared.metrics import WEBHOOK_LAG_SECONDS, WEBHOOK_TRIES, WEBHOOK_TRY_SECONDS
from shared.settings import Settings
from shared.telemetry import get_logger
from shared.tracing import make_trace_headers, start_span
from workers.delivery.claims import ClaimedDelivery, claim_due
from workers.delivery.outcomes import FORGOTTEN_AT_ONCE, forget_old, record_outcome
from workers.delivery.sending import Outcome, Sender
from workers.delivery.signing import make_headers
from workers.runtime.listener import Listener

Found = TypeVar("Found")

_log = get_logger()
AT_ONCE = 32
"""Messages under way at once; of one endpoint never more than one, so a slow one holds up only itself."""

_LOOK_EVERY_S = 1.0
_BACK_OFF_S = 2.0
_FORGET_EVERY_S = 600.0
_DATABASE_THREADS = 8
"""Of their own: a name server that does not answer holds up look-ups of names, not our records."""


class Deliverer:
    """Delivers messages."""

    def __init__(self, engine: Engine, settings: Settings, sender: Sender) -> None:
        self._engine = engine
        self._settings = settings
        self._sender = sender
        self._chance = random.SystemRandom()
        self._under_way: set[asyncio.Task[None]] = set()
        self._threads = ThreadPoolExecutor(_DATABASE_THREADS, thread_name_prefix="database")

    async def run(self, stopped: threading.Event) -> None:
        """Deliver until told to stop; a fault of the database is waited out. What is under way then may finish."""
        forgetting = asyncio.create_task(self._forget_for_ever())
        while not stopped.is_set():
            try:
                with closing(await self._run(lambda: Listener(self._settings, DELIVERY_CHANNEL))) as listener:
                    await self._deliver_until(stopped, listener)
            except (TransientFault, psycopg2.Error) as error:
                _log.warning("delivery waits", reason=type(error).__name__)
                await asyncio.sleep(_BACK_OFF_S)
        forgetting.cancel()
        if self._under_way:
            await asyncio.wait(self._under_way, timeout=self._settings.shutdown_grace.total_seconds())

    async def deliver_due(self) -> int:
        """Begin everything that is due and wait until it was tried once; return how much that was."""
        begun = await self._begin()
        if begun:
            await asyncio.wait(begun)
        return len(begun)

    async def _deliver_until(self, stopped: threading.Event, listener: Listener) -> None:
        listening = self._run(lambda: listener.wait(_LOOK_EVERY_S))
        try:
            while not stopped.is_set():
                if not await self._begin():
                    await asyncio.wait({listening, *self._under_way}, return_when=asyncio.FIRST_COMPLETED)
                if listening.done():
                    listening.result()
                    listening = self._run(lambda: listener.wait(_LOOK_EVERY_S))
        finally:
            await asyncio.wait({listening})

    async def _forget_for_ever(self) -> None:
        while True:
            try:
                while await self._run(self._forget) == FORGOTTEN_AT_ONCE:
                    pass
            except Exception as error:  # noqa: BLE001  # edge of a task: what is old goes the next time
                _log.error("old messages stay", exc_info=error)
            await asyncio.sleep(_FORGET_EVERY_S)

    async def _begin(self) -> set[asyncio.Task[None]]:
        free = AT_ONCE - len(self._under_way)
        claimed = await self._run(lambda: self._claim(free)) if free > 0 else []
        begun = {asyncio.create_task(self._deliver(message)) for message in claimed}
        self._under_way |= begun
        for task in begun:
            task.add_done_callback(self._under_way.discard)
        return begun

    async def _deliver(self, message: ClaimedDelivery) -> None:
        WEBHOOK_LAG_SECONDS.observe(max(0.0, message.waited_s))
        try:
            outcome = await self._send(message)
            is_ours = await self._run(lambda: self._record(message, outcome))
        except Exception as error:  # noqa: BLE001  # edge of a task: the claim lapses and the message is sent again
            _log.error("delivery broke off", webhook_id=str(message.id), exc_info=error)
            return
        word = "delivered" if outcome.is_delivered else (outcome.error or "refused").partition(":")[0]
        WEBHOOK_TRIES.labels(outcome=word).inc()
        WEBHOOK_TRY_SECONDS.observe(outcome.seconds)
        # Neither the address nor what was answered: both may tell more than a log should.
        _log.info(
            "webhook tried", webhook_id=str(message.id), outcome=word, status_code=outcome.status_code, is_ours=is_ours
        )

    async def _send(self, message: ClaimedDelivery) -> Outcome:
        with start_span("webhook", traceparent=message.traceparent, kind=SpanKind.CLIENT) as span:
            headers = {**make_headers(message), **make_trace_headers()}
            outcome = await self._sender.send(message.url, message.content.encode(), headers)
            span.set_attributes({"ctclip.webhook_id": str(message.id), "ctclip.is_delivered": outcome.is_delivered})
            return outcome

    def _run(self, work: Callable[[], Found]) -> asyncio.Future[Found]:
        return asyncio.get_running_loop().run_in_executor(self._threads, work)

    def _claim(self, limit: int) -> list[ClaimedDelivery]:
        with transaction(self._engine) as session:
            return claim_due(session, limit, self._settings.webhook_timeout)

    def _record(self, message: ClaimedDelivery, outcome: Outcome) -> bool:
        with transaction(self._engine) as session:
            return record_outcome(session, message, outcome, self._chance.random())

    def _forget(self) -> int:
        with transaction(self._engine) as session:
            return forget_old(session, self._settings.webhook_log_retention)


def make_deliverer(engine: Engine, settings: Settings) -> Deliverer:
    """Return a deliverer by the settings."""
    sender = Sender(settings.webhook_allowed_networks, settings.webhook_timeout.total_seconds())
    return Deliverer(engine, settings, sender)
