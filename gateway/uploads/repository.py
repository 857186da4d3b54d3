"""Rows of uploads in parts."""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Sequence
from datetime import timedelta

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from gateway.tenants import Tenant
from gateway.uploads.division import divide
from gateway.uploads.errors import TooManyUploads, UploadNotFound
from gateway.uploads.schemas import CreateUploadBody, UploadBody, describe_upload
from shared.upload_tables import Upload, UploadPart

_LOCK = 0x6374_636C_7570  # "ctclup": uploads are made one after another, so that the limit holds


def add_upload(
    session: Session, tenant: Tenant, body: CreateUploadBody, *, lifetime: timedelta, limit: int
) -> UploadBody:
    """Write an upload that waits for its parts. Raises TooManyUploads."""
    session.execute(select(func.pg_advisory_xact_lock(_LOCK)))
    if len(_select_open(session, tenant)) >= limit:
        raise TooManyUploads(limit)
    upload = Upload(
        id=uuid.uuid4(),
        tenant=tenant,
        size_bytes=body.size_bytes,
        part_size_bytes=divide(body.size_bytes).part_size_bytes,
        announced_sha256=None if body.sha256 is None else body.sha256.lower(),
        expires_at=func.now() + lifetime,
    )
    session.add(upload)
    session.flush()
    session.refresh(upload)
    return describe_upload(upload, ())


def fetch_upload(session: Session, tenant: Tenant, upload_id: uuid.UUID, *, is_locked: bool = False) -> Upload:
    """Return an upload that has not expired. Raises UploadNotFound, for another tenant's too."""
    query = select(Upload).where(Upload.id == upload_id, Upload.tenant == tenant, Upload.expires_at > func.now())
    upload = session.scalar(query.with_for_update() if is_locked else query)
    if upload is None:
        raise UploadNotFound
    return upload


def fetch_described(session: Session, tenant: Tenant, upload_id: uuid.UUID) -> UploadBody:
    """Return an upload as callers see it. Raises UploadNotFound."""
    upload = fetch_upload(session, tenant, upload_id)
    return describe_upload(upload, fetch_parts(session, upload_id))


def fetch_open(session: Session, tenant: Tenant) -> list[UploadBody]:
    """Return all uploads of a tenant that are no job yet, newest first."""
    uploads = _select_open(session, tenant)
    parts: defaultdict[uuid.UUID, list[UploadPart]] = defaultdict(list)
    for part in session.scalars(select(UploadPart).where(UploadPart.upload_id.in_([one.id for one in uploads]))):
        parts[part.upload_id].append(part)
    return [describe_upload(upload, parts[upload.id]) for upload in uploads]


def fetch_parts(session: Session, upload_id: uuid.UUID) -> Sequence[UploadPart]:
    """Return the parts that have come, in their order."""
    return session.scalars(
        select(UploadPart).where(UploadPart.upload_id == upload_id).order_by(UploadPart.number)
    ).all()


def is_being_assembled(session: Session, upload: Upload) -> bool:
    """Say whether a gateway is putting the parts together now."""
    return (
        upload.assembly_until is not None and upload.assembly_until > session.execute(select(func.now())).scalar_one()
    )


def _select_open(session: Session, tenant: Tenant) -> Sequence[Upload]:
    query = select(Upload).where(Upload.tenant == tenant, Upload.job_id.is_(None), Upload.expires_at > func.now())
    return session.scalars(query.order_by(Upload.created_at.desc(), Upload.id)).all()
