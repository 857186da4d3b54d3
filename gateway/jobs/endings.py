"""Waiting for jobs to end: one query for all who wait, whatever their number."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable
from typing import Any

from sqlalchemy.orm import Session

from gateway.jobs.repository import fetch_ended
from shared.errors import TransientFault
from shared.telemetry import get_logger

_log = get_logger()
_LOOK_EVERY_S = 0.1
_BACK_OFF_S = 2.0

Transact = Callable[[Callable[[Session], Any]], Awaitable[Any]]


class JobEndings:
    """Tells when jobs end. Looks at the database only while somebody waits."""

    def __init__(self, transact: Transact) -> None:
        self._transact = transact
        self._waiting: dict[uuid.UUID, set[asyncio.Event]] = {}
        self._watching: asyncio.Task[None] | None = None
        self._is_stopping = False

    def let_go(self) -> None:
        """Have nobody wait any longer: this process stops."""
        self._is_stopping = True
        for ended in (one for waiting in self._waiting.values() for one in waiting):
            ended.set()

    async def wait(self, job_id: uuid.UUID, limit_s: float) -> bool:
        """Wait until a job has ended; False when it has not within `limit_s`, or this process stops before."""
        if self._is_stopping:
            return False
        ended = asyncio.Event()
        self._waiting.setdefault(job_id, set()).add(ended)
        self._watch()
        try:
            async with asyncio.timeout(limit_s):
                await ended.wait()
        except TimeoutError:
            return False
        finally:
            self._forget(job_id, ended)
        return not self._is_stopping

    def _watch(self) -> None:
        if self._watching is None or self._watching.done():
            self._watching = asyncio.create_task(self._look_until_nobody_waits())

    async def _look_until_nobody_waits(self) -> None:
        while self._waiting:
            try:
                await self._look()
                await asyncio.sleep(_LOOK_EVERY_S)
            except TransientFault as fault:
                _log.warning("watching of jobs waits", reason=str(fault))
                await asyncio.sleep(_BACK_OFF_S)

    async def _look(self) -> None:
        job_ids = frozenset(self._waiting)
        for job_id in await self._transact(lambda session: fetch_ended(session, job_ids)):
            for ended in self._waiting.get(job_id, ()):
                ended.set()

    def _forget(self, job_id: uuid.UUID, ended: asyncio.Event) -> None:
        waiting = self._waiting.get(job_id, set())
        waiting.discard(ended)
        if not waiting:
            self._waiting.pop(job_id, None)
