"""Expiry of uploads in parts: what no job was made of in time is removed, the objects first and the rows after."""

from __future__ import annotations

import threading

from sqlalchemy import Engine, func, or_, select
from sqlalchemy.orm import Session

from shared.database import transaction
from shared.storage import ObjectStore
from shared.telemetry import get_logger
from shared.upload_tables import Upload, UploadPart

_log = get_logger()


def expire_uploads(engine: Engine, store: ObjectStore, stopped: threading.Event | None = None) -> int:
    """Remove every upload that has expired; return how many. Raises TransientFault.

    A submitted one owns no object any more: only its row goes.
    """
    removed = 0
    while not (stopped and stopped.is_set()) and _remove_one(engine, store):
        removed += 1
    return removed


def _remove_one(engine: Engine, store: ObjectStore) -> bool:
    with transaction(engine) as session:
        upload = _lock_expired(session)
        if upload is None:
            return False
        parts = session.scalars(select(UploadPart.key).where(UploadPart.upload_id == upload.id)).all()
        for key in (upload.key, *parts):
            if key is not None:
                store.remove(key)
        session.delete(upload)
    _log.info("upload expired", upload_id=str(upload.id), parts=len(parts))
    return True


def _lock_expired(session: Session) -> Upload | None:
    """Lock and return an upload that has expired and is not being put together at this moment."""
    return session.scalar(
        select(Upload)
        .where(Upload.expires_at <= func.now())
        .where(or_(Upload.assembly_until.is_(None), Upload.assembly_until < func.now()))
        .order_by(Upload.expires_at)
        .limit(1)
        .with_for_update(skip_locked=True)
    )
