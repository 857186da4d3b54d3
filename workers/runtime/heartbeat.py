"""Renewal of leases while stages run, and their hand-back when the process must stop."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Engine

from shared.database import transaction
from shared.errors import TransientFault
from shared.settings import Settings
from shared.telemetry import get_logger
from workers.runtime.lease import Lease, release, renew

_log = get_logger()


class Heartbeat:
    """One thread that renews every lease that this process holds."""

    def __init__(self, engine: Engine, settings: Settings) -> None:
        self._engine = engine
        self._duration = settings.lease_duration
        self._interval_s = settings.heartbeat_interval.total_seconds()
        self._held: dict[Lease, threading.Event] = {}
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._beat_until_stopped, name="heartbeat", daemon=True)

    def start(self) -> None:
        """Begin to beat."""
        self._thread.start()

    def stop(self) -> None:
        """Stop beating; leases that are still held lapse by themselves."""
        self._stopped.set()
        self._thread.join()

    @contextmanager
    def keep(self, lease: Lease) -> Iterator[threading.Event]:
        """Keep a lease alive; the event is set once it is lost."""
        lost = threading.Event()
        with self._lock:
            self._held[lease] = lost
        try:
            yield lost
        finally:
            with self._lock:
                self._held.pop(lease, None)

    def release_all(self) -> None:
        """Give back every stage in hand, so that another worker takes it without waiting for the lease."""
        with self._lock:
            held = list(self._held)
        for lease in held:
            try:
                with transaction(self._engine) as session:
                    is_released = release(session, lease)
            except TransientFault as fault:  # the lease lapses by itself, and the next one may be given back
                _log.warning("release failed", code=fault.code, job_id=str(lease.job_id), stage=lease.stage)
                continue
            except Exception as error:  # noqa: BLE001  # edge of the process: no bug keeps the other stages here
                _log.error("release broke off", job_id=str(lease.job_id), stage=lease.stage, exc_info=error)
                continue
            _log.info("stage released", job_id=str(lease.job_id), stage=lease.stage, was_held=is_released)

    def _beat_until_stopped(self) -> None:
        while not self._stopped.wait(self._interval_s):
            with self._lock:
                held = list(self._held.items())
            for lease, lost in held:
                self._beat(lease, lost)

    def _beat(self, lease: Lease, lost: threading.Event) -> None:
        try:
            with transaction(self._engine) as session:
                is_ours = renew(session, lease, self._duration)
        except TransientFault as fault:
            # The database may be back before the lease lapses; the completion is fenced anyway.
            _log.warning("heartbeat failed", code=fault.code, job_id=str(lease.job_id), stage=lease.stage)
            return
        except Exception as error:  # noqa: BLE001  # edge of a thread that every lease of this process lives by
            _log.error("heartbeat broke off", job_id=str(lease.job_id), stage=lease.stage, exc_info=error)
            return
        if not is_ours:
            lost.set()
