"""Putting the parts of an upload together: one stream from storage back to storage, hashed on the way.

One gateway at a time does it, under a right that lapses when it dies. The parts go after the commit that names the
whole, so a crash at any moment leaves either all parts or the whole, and orphans for the hourly sweep.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from http import HTTPStatus

from sqlalchemy import delete, func, select, update
from sqlalchemy.orm import Session

from gateway.renewing import held
from gateway.resources import Resources
from gateway.tenants import Tenant
from gateway.uploads.digests import refuse_other_sha256
from gateway.uploads.errors import UploadBusy, UploadIncomplete
from gateway.uploads.repository import fetch_parts, fetch_upload, is_being_assembled
from gateway.uploads.schemas import UploadBody, describe_upload, get_division
from shared.errors import CommitInDoubt
from shared.storage import ObjectStore, StoredObject
from shared.telemetry import get_logger
from shared.upload_tables import Upload, UploadPart

_log = get_logger()
_PREFIX = "uploads"
_HELD_FOR = timedelta(seconds=60)


@dataclass(frozen=True)
class Assembly:
    """The right to put the parts of an upload together."""

    upload_id: uuid.UUID
    token: uuid.UUID
    parts: Sequence[StoredObject]
    announced_sha256: str | None


async def complete_upload(resources: Resources, tenant: Tenant, upload_id: uuid.UUID) -> UploadBody:
    """Make one object of all parts; again is no error. Raises UploadNotFound, UploadIncomplete, UploadBusy or
    InputProblem(CHECKSUM_MISMATCH), after which every part is still there.
    """
    claimed = await resources.transact(lambda session: _claim(session, tenant, upload_id))
    if isinstance(claimed, UploadBody):
        return claimed
    every_s = _HELD_FOR.total_seconds() / 3
    async with held(
        resources, lambda session: _renew(session, claimed), lambda session: _release(session, claimed), every_s=every_s
    ):
        return await _assemble(resources, claimed)


async def _assemble(resources: Resources, assembly: Assembly) -> UploadBody:
    parts = assembly.parts
    # A single part is the whole already.
    whole = parts[0] if len(parts) == 1 else await resources.uploads.run(lambda: _write(resources.store, parts))
    try:
        refuse_other_sha256(assembly.announced_sha256, whole.sha256)
        body = await resources.transact_deed(lambda session: _finish(session, assembly, whole), HTTPStatus.OK)
    except Exception as error:
        if len(parts) > 1 and not isinstance(error, CommitInDoubt):
            await resources.remove_object(whole.key)
        raise
    for part in parts:
        if part.key != whole.key:
            await resources.remove_object(part.key)
    _log.info("upload complete", upload_id=str(body.id), size_bytes=whole.size_bytes, parts=len(parts))
    return body


def _write(store: ObjectStore, parts: Sequence[StoredObject]) -> StoredObject:
    return store.write_chunks((chunk for part in parts for chunk in store.iterate(part)), prefix=_PREFIX)


def _claim(session: Session, tenant: Tenant, upload_id: uuid.UUID) -> Assembly | UploadBody:
    upload = fetch_upload(session, tenant, upload_id, is_locked=True)
    if upload.sha256 is not None:
        return describe_upload(upload, ())
    if is_being_assembled(session, upload):
        raise UploadBusy
    parts = fetch_parts(session, upload_id)
    missing = set(range(1, get_division(upload).parts + 1)) - {part.number for part in parts}
    if missing:
        raise UploadIncomplete(sorted(missing))
    token = upload.assembly_token = uuid.uuid4()
    upload.assembly_until = func.now() + _HELD_FOR
    stored = [StoredObject(part.key, part.size_bytes, part.sha256) for part in parts]
    return Assembly(upload_id, token, stored, upload.announced_sha256)


def _finish(session: Session, assembly: Assembly, whole: StoredObject) -> UploadBody:
    upload = session.scalar(
        select(Upload).where(Upload.id == assembly.upload_id, Upload.assembly_token == assembly.token).with_for_update()
    )
    if upload is None:  # this gateway was thought dead, and another one took over
        raise UploadBusy
    upload.key, upload.sha256 = whole.key, whole.sha256
    upload.assembly_token = upload.assembly_until = None
    session.execute(delete(UploadPart).where(UploadPart.upload_id == upload.id))
    session.flush()
    return describe_upload(upload, ())


def _renew(session: Session, assembly: Assembly) -> None:
    _change(session, assembly, assembly_until=func.now() + _HELD_FOR)


def _release(session: Session, assembly: Assembly) -> None:
    _change(session, assembly, assembly_token=None, assembly_until=None)


def _change(session: Session, assembly: Assembly, **values: object) -> None:
    session.execute(
        update(Upload).where(Upload.id == assembly.upload_id, Upload.assembly_token == assembly.token).values(**values)
    )
