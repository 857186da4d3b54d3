"""What the routes work with: settings, database and storage, each behind a bounded number of threads."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, TypeVar

from fastapi import Depends, Request
from sqlalchemy.orm import Session

from gateway.artifacts.places import PLACES, DownloadPlaces
from gateway.deeds import get_pending_deed
from gateway.events.streams import EventStreams
from gateway.jobs.endings import JobEndings
from gateway.pressure.gauge import PressureGauge
from gateway.threads import ThreadSlots
from shared.database import make_engine, transaction
from shared.errors import TransientFault
from shared.problems import ProblemCode
from shared.settings import Authentication, Settings
from shared.storage import ObjectStore
from shared.telemetry import get_logger

_log = get_logger()
Found = TypeVar("Found")

# As many threads as connections: a thread that has begun never waits for the pool.
_DATABASE_THREADS = 10
_DATABASE_PATIENCE_S = 5.0
_DOWNLOAD_THREADS = 16  # each for one piece of one download
_PROBE_THREADS = 2  # of their own: readiness must not wait behind downloads
_STORAGE_PATIENCE_S = 30.0


class Resources:
    """One gateway process's way to its dependencies. Nothing is connected before it is used."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.store = ObjectStore(settings)
        self.uploads = _make_storage_threads("uploads", settings.upload_concurrency)
        self.downloads = _make_storage_threads("downloads", _DOWNLOAD_THREADS)
        self.download_places = DownloadPlaces(tenant_limit=_choose_share(settings, PLACES))
        self.probes = _make_storage_threads("probes", _PROBE_THREADS)
        self.endings = JobEndings(self.transact)
        self.pressure = PressureGauge(self.transact, settings)
        self.streams = EventStreams(
            self.transact, settings.event_streams_limit, tenant_limit=choose_tenant_streams(settings)
        )
        self._engine = make_engine(settings, pool_size=_DATABASE_THREADS, application_name="ctclip-gateway")
        self._database = ThreadSlots(
            "database",
            size=_DATABASE_THREADS,
            patience_s=_DATABASE_PATIENCE_S,
            refusal=ProblemCode.DATABASE_UNAVAILABLE,
        )

    async def transact(self, work: Callable[[Session], Found]) -> Found:
        """Run `work` in one transaction on a thread. Raises TransientFault when the database is not available."""

        def run() -> Found:
            with transaction(self._engine) as session:
                return work(session)

        return await self._database.run(run)

    async def transact_deed(
        self, work: Callable[[Session], Found], status: int, locate: Callable[[Found], str | None] = lambda _: None
    ) -> Found:
        """Run `work` together with the entry in the log of what the request did: both are there, or neither.

        `status` is what the request is answered with, `locate` returns the address of what was made.
        """
        deed = get_pending_deed()
        if deed is None:
            return await self.transact(work)

        def run(session: Session) -> Found:
            found = work(session)
            deed.write(session, status, locate(found))
            return found

        found = await self.transact(run)
        deed.kept_status = status
        return found

    async def remove_object(self, key: str) -> None:
        """Remove an object that no row names. What cannot be removed now is left to the hourly sweep."""
        try:
            await self.uploads.run(lambda: self.store.remove(key))
        except TransientFault as fault:
            _log.warning("orphan object left", key=key, reason=str(fault))

    def let_go(self) -> None:
        """Answer everybody who waits for something to happen: this process stops, and another one tells them."""
        self.endings.let_go()
        self.streams.let_go()

    def close(self) -> None:
        """Give everything back."""
        for threads in (self.uploads, self.downloads, self.probes, self._database):
            threads.close()
        self._engine.dispose()


def choose_tenant_streams(settings: Settings) -> int | None:
    """Return how many streams of events one tenant may hold open; None where it may hold all."""
    return _choose_share(settings, settings.event_streams_limit)


def _choose_share(settings: Settings, limit: int) -> int | None:
    """Return how much of a limit one tenant may have: half, so that one cannot keep all others out."""
    if settings.authentication is Authentication.OFF:
        return None  # one tenant alone has nobody to keep out
    return max(1, limit // 2)


def _make_storage_threads(name: str, size: int) -> ThreadSlots:
    return ThreadSlots(name, size=size, patience_s=_STORAGE_PATIENCE_S, refusal=ProblemCode.STORAGE_UNAVAILABLE)


def get_resources(request: Request) -> Resources:
    """Return the resources of the application that answers this request."""
    resources: Resources = request.app.state.resources
    return resources


ResourcesOf = Annotated[Resources, Depends(get_resources)]
"""A route's parameter of this type gets the resources."""
