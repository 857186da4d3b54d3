"""Places for downloads: so many are open at once, in all and of one tenant, and who finds none free waits a little."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from contextlib import ExitStack

from gateway.problems.handlers import RetryLater
from gateway.tenants import Tenant
from shared.problems import ProblemCode

PLACES = 64
"""Each holds some MiB, a connection of the storage and one of the caller."""

_PATIENCE_S = 10.0
_RETRY_AFTER_S = 10


class TooManyDownloads(RetryLater):
    """As many downloads are open as this gateway holds, in all or of one tenant."""

    def __init__(self, limit: int) -> None:
        detail = f"{limit} downloads are open here already."
        super().__init__(ProblemCode.TOO_MANY_STREAMS, detail, retry_after_s=_RETRY_AFTER_S)


class DownloadPlaces:
    """The places of one gateway. Without a `tenant_limit`, one tenant may have all."""

    def __init__(
        self, limit: int = PLACES, *, tenant_limit: int | None = None, patience_s: float = _PATIENCE_S
    ) -> None:
        self._limit = limit
        self._tenant_limit = tenant_limit or limit
        self._patience_s = patience_s
        self._free = asyncio.Semaphore(limit)
        self._free_of: defaultdict[Tenant, asyncio.Semaphore] = defaultdict(
            lambda: asyncio.Semaphore(self._tenant_limit)
        )
        self._asked: defaultdict[Tenant, int] = defaultdict(int)

    async def take(self, tenant: Tenant) -> ExitStack:
        """Return a place, which is given back by closing it. Raises TooManyDownloads."""
        limit = self._tenant_limit
        with ExitStack() as place:
            self._asked[tenant] += 1
            place.callback(self._leave, tenant)
            try:
                async with asyncio.timeout(self._patience_s):
                    await _acquire(self._free_of[tenant], place)
                    limit = self._limit
                    await _acquire(self._free, place)
            except TimeoutError as error:
                raise TooManyDownloads(limit) from error
            return place.pop_all()

    def _leave(self, tenant: Tenant) -> None:
        self._asked[tenant] -= 1
        if not self._asked[tenant]:  # tenants would gather without end
            del self._asked[tenant]
            self._free_of.pop(tenant, None)


async def _acquire(free: asyncio.Semaphore, place: ExitStack) -> None:
    await free.acquire()
    place.callback(free.release)
