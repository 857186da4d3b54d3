"""What callers may do with uploads in parts."""

from __future__ import annotations

import uuid
from http import HTTPStatus

from fastapi import Request
from sqlalchemy.orm import Session

from gateway.resources import Resources
from gateway.tenants import Tenant
from gateway.uploads.errors import UploadBusy
from gateway.uploads.parts import PartReception, plan_part
from gateway.uploads.reception import make_too_large
from gateway.uploads.repository import add_upload, fetch_parts, fetch_upload, is_being_assembled
from gateway.uploads.schemas import CreateUploadBody, PartBody, UploadBody
from shared.storage import ObjectStore


async def create_upload(resources: Resources, tenant: Tenant, body: CreateUploadBody) -> UploadBody:
    """Make an upload that waits for its parts.

    Raises InputProblem(UPLOAD_TOO_LARGE), TooManyUploads, TenantStorageFull or NoSpaceLeft.
    """
    settings = resources.settings
    if body.size_bytes > settings.upload_limit_bytes:
        raise make_too_large(settings.upload_limit_bytes)
    await resources.pressure.require_storage(tenant, body.size_bytes)
    lifetime, limit = settings.open_upload_lifetime, settings.open_uploads_limit
    return await resources.transact_deed(
        lambda session: add_upload(session, tenant, body, lifetime=lifetime, limit=limit),
        HTTPStatus.CREATED,
        lambda made: f"/v1/uploads/{made.id}",
    )


async def receive_part(
    resources: Resources, tenant: Tenant, request: Request, upload_id: uuid.UUID, number: int
) -> PartBody:
    """Take in a part while it comes. Whether the tenant has room was judged when the upload was begun.

    Raises NoSpaceLeft, InputProblem or TransientFault, and then has left nothing behind.
    """
    resources.pressure.require_space()
    plan = await resources.transact(lambda session: plan_part(session, tenant, upload_id, number))
    return await PartReception(resources, request, plan).receive()


def abort_upload(session: Session, store: ObjectStore, tenant: Tenant, upload_id: uuid.UUID) -> None:
    """Remove an upload with all that came of it; a job that was made of it stays. Raises UploadNotFound or UploadBusy.

    The objects go first and the rows after, as retention has it.
    """
    upload = fetch_upload(session, tenant, upload_id, is_locked=True)
    if is_being_assembled(session, upload):
        raise UploadBusy
    for key in (upload.key, *(part.key for part in fetch_parts(session, upload_id))):
        if key is not None:
            store.remove(key)
    session.delete(upload)
