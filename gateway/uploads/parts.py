"""Taking in one part: its size is known before, and the first part's first bytes tell the kind of the whole.

What breaks off, has the wrong size or another digest than announced leaves nothing behind: it can come again.
"""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass

from fastapi import Request
from sqlalchemy.orm import Session

from gateway.problems.responses import mark_body_read
from gateway.resources import Resources
from gateway.tenants import Tenant
from gateway.uploads.digests import HEADER as DIGEST_HEADER
from gateway.uploads.digests import AnnouncedDigests, compute_sha256
from gateway.uploads.errors import (
    UploadAlreadyComplete,
    UploadBusy,
    UploadPartConflict,
    UploadPartSizeWrong,
    UploadPartUnknown,
)
from gateway.uploads.pouring import iterate_in_time, pour
from gateway.uploads.reception import refuse_encoding, require_kind
from gateway.uploads.repository import fetch_upload, is_being_assembled
from gateway.uploads.schemas import PartBody, describe_part, get_division
from shared.errors import CommitInDoubt
from shared.storage import StoredObject
from shared.upload_kinds import HEAD_BYTES, get_media_type
from shared.upload_tables import Upload, UploadPart

_PART_PREFIX = "parts"
_LONGEST_LENGTH = 20  # digits of a Content-Length that is a number at all


@dataclass(frozen=True)
class PartPlan:
    """A part that may come. `received` is what came of it before."""

    tenant: Tenant
    upload_id: uuid.UUID
    number: int
    size_bytes: int
    received: PartBody | None


def plan_part(session: Session, tenant: Tenant, upload_id: uuid.UUID, number: int) -> PartPlan:
    """Return what a part must be like.

    Raises UploadNotFound, UploadPartUnknown, UploadBusy or UploadAlreadyComplete.
    """
    upload = _require_open(session, fetch_upload(session, tenant, upload_id))
    division = get_division(upload)
    if not 1 <= number <= division.parts:
        raise UploadPartUnknown(number, division.parts)
    part = session.get(UploadPart, (upload_id, number))
    received = None if part is None else describe_part(part)
    return PartPlan(tenant, upload_id, number, division.measure(number), received)


class PartReception:
    """One part on its way in."""

    def __init__(self, resources: Resources, request: Request, plan: PartPlan) -> None:
        self._resources = resources
        self._request = request
        self._plan = plan
        self._digests = AnnouncedDigests(", ".join(request.headers.getlist(DIGEST_HEADER)), is_form=False)
        self._head = b""
        refuse_encoding(request)
        self._check_length()

    async def receive(self) -> PartBody:
        """Return the part once it lies in storage. A part that is there already is only compared."""
        threads, store = self._resources.uploads, self._resources.store
        if self._plan.received is not None:
            sha256 = await pour(self._iterate(), threads, compute_sha256)
            return _require_same(self._plan.received, sha256)
        stored = await pour(self._iterate(), threads, lambda stream: store.write_stream(stream, prefix=_PART_PREFIX))
        try:
            part = await self._resources.transact(lambda session: self._add(session, stored))
        except Exception as error:
            if not isinstance(error, CommitInDoubt):
                await self._resources.remove_object(stored.key)
            raise
        if part.key != stored.key:  # the same bytes came twice at once, and the other request was first
            await self._resources.remove_object(stored.key)
        return describe_part(part)

    def _check_length(self) -> None:
        length = self._request.headers.get("content-length")
        if length is None:
            return
        found = int(length) if length.isdecimal() and len(length) <= _LONGEST_LENGTH else 0
        if found != self._plan.size_bytes:
            raise self._make_wrong_size(found)

    async def _iterate(self) -> AsyncIterator[bytes]:
        """Yield the part. Its first bytes are held back until they were judged, where they begin the whole."""
        found_bytes = 0
        async for chunk in self._iterate_judged():
            found_bytes += len(chunk)
            if found_bytes > self._plan.size_bytes:
                raise self._make_wrong_size(found_bytes)
            if chunk:
                self._digests.take_body(chunk)
                yield chunk
        mark_body_read(self._request.scope)
        if found_bytes != self._plan.size_bytes:
            raise self._make_wrong_size(found_bytes)
        self._digests.check()

    async def _iterate_judged(self) -> AsyncIterator[bytes]:
        judged = self._plan.number != 1 or self._plan.received is not None
        async for chunk in iterate_in_time(self._request):
            if judged:
                yield chunk
                continue
            self._head += chunk
            if len(self._head) >= min(HEAD_BYTES, self._plan.size_bytes):
                require_kind(self._head)
                judged = True
                yield self._head
        if not judged:
            yield self._head  # too short: refused for its size

    def _make_wrong_size(self, found_bytes: int) -> UploadPartSizeWrong:
        plan = self._plan
        return UploadPartSizeWrong(plan.number, expected_bytes=plan.size_bytes, found_bytes=found_bytes)

    def _add(self, session: Session, stored: StoredObject) -> UploadPart:
        plan = self._plan
        upload = _require_open(session, fetch_upload(session, plan.tenant, plan.upload_id, is_locked=True))
        part = session.get(UploadPart, (plan.upload_id, plan.number))
        if part is not None:
            _require_same(describe_part(part), stored.sha256)
            return part
        if plan.number == 1:
            kind = require_kind(self._head)
            upload.kind, upload.media_type = kind, get_media_type(kind, self._head)
        part = UploadPart(
            upload_id=plan.upload_id,
            number=plan.number,
            key=stored.key,
            size_bytes=stored.size_bytes,
            sha256=stored.sha256,
        )
        session.add(part)
        return part


def _require_open(session: Session, upload: Upload) -> Upload:
    if upload.sha256 is not None:
        raise UploadAlreadyComplete
    if is_being_assembled(session, upload):
        raise UploadBusy
    return upload


def _require_same(part: PartBody, sha256: str) -> PartBody:
    if part.sha256 != sha256:
        raise UploadPartConflict(part.number, received_sha256=part.sha256)
    return part
