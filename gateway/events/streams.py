"""Streams of events: one query for all who listen, whatever their number, and no more of them than are allowed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from itertools import count
from typing import Any

from sqlalchemy.orm import Session

from gateway.events.repository import News, Reader, fetch_news
from gateway.problems.handlers import RetryLater
from gateway.tenants import Tenant
from shared.errors import TransientFault
from shared.problems import ProblemCode
from shared.tables import Event
from shared.telemetry import get_logger

_log = get_logger()
_LOOK_EVERY_S = 0.25
_BACK_OFF_S = 2.0
_MOST_AT_ONCE = 500
_RETRY_AFTER_S = 10

Transact = Callable[[Callable[[Session], Any]], Awaitable[Any]]


class TooManyStreams(RetryLater):
    """As many streams are open as this gateway holds, in all or of one tenant."""

    def __init__(self, limit: int) -> None:
        detail = f"{limit} streams are open here already."
        super().__init__(ProblemCode.TOO_MANY_STREAMS, detail, retry_after_s=_RETRY_AFTER_S)


class EventStreams:
    """All streams of one gateway. Looks at the database only while somebody listens."""

    def __init__(self, transact: Transact, limit: int, *, tenant_limit: int | None = None) -> None:
        self._transact = transact
        self._limit = limit
        self._tenant_limit = tenant_limit or limit
        self._numbers = count()
        self._listening: dict[int, _Listener] = {}
        self._watching: asyncio.Task[None] | None = None
        self._is_stopping = False

    def open(self, reader: Reader, tenant: Tenant) -> AsyncIterator[Event]:
        """Return the events behind a place as they come, until the job has ended. Raises TooManyStreams at once."""
        own = sum(listener.tenant == tenant for listener in self._listening.values())
        for found, limit in ((len(self._listening), self._limit), (own, self._tenant_limit)):
            if found >= limit:
                raise TooManyStreams(limit)
        return self._follow(reader, tenant)

    def let_go(self) -> None:
        """End every stream: this process stops, and who listens goes on elsewhere by `Last-Event-ID`."""
        self._is_stopping = True
        for listener in self._listening.values():
            listener.give(News((), has_ended=True))

    async def _follow(self, reader: Reader, tenant: Tenant) -> AsyncIterator[Event]:
        # It counts from here, not from its opening: one whose caller has left by now is never read, nor closed.
        number, listener = next(self._numbers), _Listener(reader, tenant)
        self._listening[number] = listener
        self._watch()
        try:
            while not self._is_stopping:
                news = await listener.take()
                for event in news.events:
                    yield event
                if news.has_ended:
                    return
        finally:
            self._listening.pop(number, None)

    def _watch(self) -> None:
        if self._watching is None or self._watching.done():
            self._watching = asyncio.create_task(self._look_until_nobody_listens())

    async def _look_until_nobody_listens(self) -> None:
        while self._listening:
            try:
                await self._look()
                await asyncio.sleep(_LOOK_EVERY_S)
            except TransientFault as fault:
                _log.warning("watching of events waits", reason=str(fault))
                await asyncio.sleep(_BACK_OFF_S)

    async def _look(self) -> None:
        # Who has not taken what came is not asked for again: a slow reader holds up to one batch, and no more.
        readers = {number: one.reader for number, one in self._listening.items() if one.is_hungry}
        if not readers:
            return
        for number, news in (await self._transact(lambda session: fetch_news(session, readers, _MOST_AT_ONCE))).items():
            if number in self._listening:
                self._listening[number].give(news)


class _Listener:
    """One stream: where it is, and what came for it."""

    def __init__(self, reader: Reader, tenant: Tenant) -> None:
        self.reader = reader
        self.tenant = tenant
        self._news: News | None = None
        self._came = asyncio.Event()

    @property
    def is_hungry(self) -> bool:
        """Whether it has taken everything that came."""
        return self._news is None

    def give(self, news: News) -> None:
        """Hand over what came, if anything did."""
        if news.events or news.has_ended:
            self._news = news
            self._came.set()

    async def take(self) -> News:
        """Wait for news, and go on behind them."""
        await self._came.wait()
        assert self._news is not None  # set together with the event
        news, self._news = self._news, None
        self._came.clear()
        if news.events:
            self.reader = Reader(self.reader.job_id, news.events[-1].id)
        return news
