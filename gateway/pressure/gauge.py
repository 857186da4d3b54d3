"""The gauge: one look at the queue a second, however many submit, and what was let in since counts too."""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy.orm import Session

from gateway.pressure.errors import NoSpaceLeft, QueueFull, TenantQueueFull, TenantStorageFull
from gateway.pressure.repository import Load, fetch_load
from gateway.tenants import Tenant
from shared.settings import Settings
from shared.telemetry import get_logger

_log = get_logger()
_LOOKED_FOR_S = 1.0
_MOST_TENANTS = 10_000

Transact = Callable[[Callable[[Session], Any]], Awaitable[Any]]


@dataclass
class _Reading:
    load: Load
    read_at: float
    let_in_before: int
    let_in: int = 0


class PressureGauge:
    """Says whether one more study can be taken in.

    Other gateways may let in some within the same second, so a limit can be passed by as many as come in one.
    """

    def __init__(self, transact: Transact, settings: Settings) -> None:
        self._transact = transact
        self._settings = settings
        self._readings: dict[Tenant, _Reading] = {}
        self._let_in = 0
        self._looks: dict[Tenant, asyncio.Task[_Reading]] = {}

    async def require_room(self, tenant: Tenant) -> None:
        """Let a study in. Raises QueueFull, TenantQueueFull, TenantStorageFull or NoSpaceLeft, and TransientFault."""
        await self.require_storage(tenant)
        await self.require_queue(tenant)

    async def require_queue(self, tenant: Tenant) -> None:
        """Let in a job whose bytes lie in storage. Raises QueueFull, TenantQueueFull, NoSpaceLeft or TransientFault."""
        self.require_space()
        reading = await self._read(tenant)
        self._judge_jobs(reading)
        reading.let_in += 1
        self._let_in += 1

    async def require_storage(self, tenant: Tenant, size_bytes: int = 1) -> None:
        """Let so many bytes more in. Raises TenantStorageFull or NoSpaceLeft, and TransientFault."""
        self.require_space()
        most_bytes = self._settings.tenant_storage_limit_bytes
        if most_bytes is not None and (await self._read(tenant)).load.tenant_bytes + size_bytes > most_bytes:
            raise TenantStorageFull(most_bytes)

    def require_space(self) -> None:
        """Check that the disk of the storage has room. Raises NoSpaceLeft."""
        folder = self._settings.storage_watch_dir
        if folder is not None and _get_free_bytes(folder) < self._settings.storage_reserve_bytes:
            raise NoSpaceLeft

    async def _read(self, tenant: Tenant) -> _Reading:
        """Return a reading of this second. Who comes while one is taken waits for that one, and learns of its fault."""
        reading = self._readings.get(tenant)
        if reading is not None and time.monotonic() - reading.read_at < _LOOKED_FOR_S:
            return reading
        look = self._looks.get(tenant)
        if look is None:
            look = self._looks[tenant] = asyncio.create_task(self._look(tenant))
            look.add_done_callback(lambda _: self._looks.pop(tenant, None))
        return await asyncio.shield(look)

    async def _look(self, tenant: Tenant) -> _Reading:
        limit, tenant_limit = self._settings.queue_limit, self._settings.tenant_queue_limit
        begun, let_in = time.monotonic(), self._let_in
        load = await self._transact(lambda session: fetch_load(session, tenant, limit=limit, tenant_limit=tenant_limit))
        if len(self._readings) >= _MOST_TENANTS:
            self._readings.clear()
        reading = self._readings[tenant] = _Reading(load, begun, let_in)
        return reading

    def _judge_jobs(self, reading: _Reading) -> None:
        settings, load = self._settings, reading.load
        if load.jobs + self._let_in - reading.let_in_before >= settings.queue_limit:
            raise QueueFull(settings.queue_limit)
        if settings.tenant_queue_limit is not None and load.tenant_jobs + reading.let_in >= settings.tenant_queue_limit:
            raise TenantQueueFull(settings.tenant_queue_limit)


def _get_free_bytes(folder: Path) -> float:
    """Return the free space where a folder lies; without end where it cannot be seen, since nothing is known then."""
    try:
        return shutil.disk_usage(folder).free
    except OSError as error:
        _log.warning("storage folder cannot be seen", reason=type(error).__name__)
        return float("inf")
