"""Retention: removes what jobs no longer need once it was kept as long as the settings say.

The objects go first and their rows after, in a transaction that holds the rows: a crash between leaves rows whose
objects are gone, and the next look finishes the work. What an upload tells of the patient outside of its object, the
names of its files, goes with it. Uploads in parts that no job was made of go when they expire.
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

from sqlalchemy import Engine, func, select, update
from sqlalchemy.orm import Session

from shared.artefacts import ArtefactKind
from shared.database import transaction
from shared.errors import TransientFault
from shared.events import record_artefact_removed
from shared.metrics import ARTEFACTS_EXPIRED
from shared.settings import Settings
from shared.shared_objects import is_shared
from shared.storage import ObjectStore
from shared.tables import Artefact, Job, UploadFile
from shared.telemetry import get_logger
from workers.control.upload_expiry import expire_uploads

_log = get_logger()
_INTERVAL_S = 5.0
_BATCH = 50
_THREADS = 8


class Retention:
    """Looks for what is due every five seconds. Any number may run: each takes the rows that no other one holds."""

    def __init__(self, engine: Engine, store: ObjectStore, settings: Settings) -> None:
        self._engine = engine
        self._store = store
        self._periods = dict(_list_periods(settings))
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="retention")

    def run(self, stopped: threading.Event) -> None:
        """Enforce until told to stop; a fault of the database or of storage is waited out."""
        while not stopped.wait(_INTERVAL_S):
            try:
                self.enforce(stopped)
                expire_uploads(self._engine, self._store, stopped)
            except TransientFault as fault:
                _log.warning("retention waits", reason=str(fault))

    def enforce(self, stopped: threading.Event | None = None, *, most: int | None = None) -> int:
        """Remove everything that is due, or the first `most` of each kind; return how many. Raises TransientFault."""
        return sum(self._enforce_kind(kind, period, stopped, most) for kind, period in self._periods.items())

    def _enforce_kind(
        self, kind: ArtefactKind, period: timedelta, stopped: threading.Event | None, most: int | None
    ) -> int:
        removed = 0
        while not (stopped and stopped.is_set()):
            wanted = _BATCH if most is None else min(_BATCH, most - removed)
            found = self._remove_some(kind, period, wanted)
            removed += found
            if not found or removed == most:
                break
        return removed

    def _remove_some(self, kind: ArtefactKind, period: timedelta, most: int) -> int:
        """Remove some that are due in one transaction: commits and requests to storage are what costs time."""
        with transaction(self._engine) as session:
            due = _lock_due(session, kind, period, most)
            # One after the other: of jobs that share an object, the last one of the batch is the last.
            keys = [artefact.key for artefact in due if self._forget(session, artefact)]
            list(self._threads.map(self._store.remove, keys))
        for artefact in due:
            ARTEFACTS_EXPIRED.labels(kind=kind).inc()
            _log.info("artefact expired", job_id=str(artefact.job_id), kind=kind)
        return len(due)

    @staticmethod
    def _forget(session: Session, artefact: Artefact) -> bool:
        """Remove the row of an artefact; return whether its object must go with it."""
        is_last = not is_shared(session, artefact)
        session.delete(artefact)
        record_artefact_removed(session, artefact.job_id, artefact.kind)
        if artefact.kind is ArtefactKind.UPLOAD:
            _forget_names(session, artefact.job_id)
        session.flush()
        return is_last


def _list_periods(settings: Settings) -> Iterator[tuple[ArtefactKind, timedelta]]:
    if settings.upload_retention is not None:
        yield ArtefactKind.UPLOAD, settings.upload_retention
        yield ArtefactKind.SOURCE_SERIES, settings.upload_retention
    if settings.volume_retention is not None:
        yield ArtefactKind.VOLUME, settings.volume_retention


def _lock_due(session: Session, kind: ArtefactKind, period: timedelta, most: int) -> Sequence[Artefact]:
    """Lock and return artefacts that are due, with their jobs: nothing may begin to need them meanwhile."""
    latest = func.now() - period
    due = session.scalars(
        select(Artefact)
        .join(Job)
        # An artefact is not younger than its job's end, which lets the index serve.
        .where(Artefact.kind == kind, Artefact.created_at <= latest, Job.finished_at <= latest)
        .order_by(Artefact.created_at)
        .limit(most)
        .with_for_update(of=(Artefact, Job), key_share=True, skip_locked=True)
    )
    return sorted(due, key=lambda artefact: artefact.key)  # the order in which objects are held


def _forget_names(session: Session, job_id: uuid.UUID) -> None:
    session.execute(update(UploadFile).where(UploadFile.job_id == job_id).values(name=None))
    session.execute(update(Job).where(Job.id == job_id).values(options=Job.options.op("-")("upload_name")))
