"""Threads for blocking work, so that the event loop never waits for a database or a storage."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from shared.errors import TransientFault
from shared.problems import ProblemCode

Found = TypeVar("Found")


class ThreadSlots:
    """A bounded number of threads; work that gets none within `patience_s` is refused, not queued without end."""

    def __init__(self, name: str, *, size: int, patience_s: float, refusal: ProblemCode) -> None:
        self._name = name
        self._free = asyncio.Semaphore(size)
        self._patience_s = patience_s
        self._refusal = refusal
        self._executor = ThreadPoolExecutor(size, thread_name_prefix=name)

    async def run(self, work: Callable[[], Found]) -> Found:
        """Run `work` on a thread and return what it returns. Raises TransientFault when all threads stay busy.

        A caller that is cancelled leaves at once; the work itself always runs to its end.
        """
        await self._acquire()
        context = contextvars.copy_context()
        running = asyncio.get_running_loop().run_in_executor(self._executor, context.run, work)
        running.add_done_callback(self._end)
        return await asyncio.shield(running)

    def close(self) -> None:
        """Let the threads end; work that has begun is finished."""
        self._executor.shutdown(wait=False, cancel_futures=True)

    def _end(self, running: asyncio.Future[Found]) -> None:
        self._free.release()
        # The caller may have left; then nobody else asks how it ended, and asyncio would report that.
        _ = running.cancelled() or running.exception()

    async def _acquire(self) -> None:
        try:
            async with asyncio.timeout(self._patience_s):
                await self._free.acquire()
        except TimeoutError as error:
            message = f"{self._name}: no thread came free within {self._patience_s:g} s"
            raise TransientFault(self._refusal, message) from error
