"""Retention: removes what jobs no longer need once it was kept as long as the settings say.

The object goes first and its row after, in a transaction that holds the row: a crash between leaves a row whose object
is gone, and the next look finishes the work. What an upload tells of the patient outside of its object, the names of
its files, goes with it. Uploads in parts that no job was made of go when they expire.
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator
from datetime import timedelta
from itertools import count

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


class Retention:
    """Looks for what is due every five seconds. Any number may run: each takes the rows that no other one holds."""

    def __init__(self, engine: Engine, store: ObjectStore, settings: Settings) -> None:
        self._engine = engine
        self._store = store
        self._periods = dict(_list_periods(settings))

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
        removed = 0
        for kind, period in self._periods.items():
            for _ in range(most) if most else count():
                if (stopped and stopped.is_set()) or not self._remove_one(kind, period):
                    break
                removed += 1
        return removed

    def _remove_one(self, kind: ArtefactKind, period: timedelta) -> bool:
        with transaction(self._engine) as session:
            artefact = _lock_due(session, kind, period)
            if artefact is None:
                return False
            if not is_shared(session, artefact):
                self._store.remove(artefact.key)
            session.delete(artefact)
            record_artefact_removed(session, artefact.job_id, kind)
            if kind is ArtefactKind.UPLOAD:
                _forget_names(session, artefact.job_id)
        ARTEFACTS_EXPIRED.labels(kind=kind).inc()
        _log.info("artefact expired", job_id=str(artefact.job_id), kind=kind)
        return True


def _list_periods(settings: Settings) -> Iterator[tuple[ArtefactKind, timedelta]]:
    if settings.upload_retention is not None:
        yield ArtefactKind.UPLOAD, settings.upload_retention
        yield ArtefactKind.SOURCE_SERIES, settings.upload_retention
    if settings.volume_retention is not None:
        yield ArtefactKind.VOLUME, settings.volume_retention


def _lock_due(session: Session, kind: ArtefactKind, period: timedelta) -> Artefact | None:
    """Lock and return one artefact that is due, with its job: nothing may begin to need it meanwhile."""
    latest = func.now() - period
    return session.scalar(
        select(Artefact)
        .join(Job)
        # An artefact is not younger than its job's end, which lets the index serve.
        .where(Artefact.kind == kind, Artefact.created_at <= latest, Job.finished_at <= latest)
        .order_by(Artefact.created_at)
        .limit(1)
        .with_for_update(of=(Artefact, Job), key_share=True, skip_locked=True)
    )


def _forget_names(session: Session, job_id: uuid.UUID) -> None:
    session.execute(update(UploadFile).where(UploadFile.job_id == job_id).values(name=None))
    session.execute(update(Job).where(Job.id == job_id).values(options=Job.options.op("-")("upload_name")))
