"""Submission: reserve the key, store the body while it comes, then make the job in one transaction.

Whatever fails on the way, nothing is left behind: no object, no row, no reserved key. Only an object whose job may have
been committed stays, for the sweep to judge.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

from fastapi import Request
from sqlalchemy.orm import Session

from gateway.jobs.acceptance import Submission, add_job, require_policy_id
from gateway.jobs.idempotency import (
    RENEWED_EVERY_S,
    EarlierAnswer,
    Reservation,
    keep_answer,
    parse_key,
    release,
    renew,
    reserve,
)
from gateway.jobs.options import CALLBACK_FIELD, OPTION_FIELDS, JobRequest, SubmissionOptions, parse_options
from gateway.jobs.schemas import JobBody
from gateway.resources import Resources
from gateway.tenants import Tenant
from gateway.uploads.names import sanitise_name
from gateway.uploads.reception import ReceivedUpload, Reception
from gateway.webhooks.addresses import check_address, check_written
from shared.artefacts import UploadKind
from shared.byte_units import MIB
from shared.database import may_have_committed
from shared.errors import TransientFault
from shared.storage import Readable, StoredObject
from shared.telemetry import UPLOAD_BYTES, get_logger

_log = get_logger()
_UPLOAD_PREFIX = "uploads"

NameCheck = Callable[[str | None], None]


@dataclass(frozen=True)
class AcceptedJob:
    """The answer to a submission; `is_replayed` when an earlier request had been answered with it."""

    job: JobBody
    is_replayed: bool


class Submitter:
    """Takes one request in. `check_name` sees the name of the file before any of it is kept."""

    def __init__(
        self,
        resources: Resources,
        tenant: Tenant,
        request: Request,
        *,
        check_name: NameCheck = lambda _: None,
        options: frozenset[str] = OPTION_FIELDS,
    ) -> None:
        self._resources = resources
        self._tenant = tenant
        self._query = list(request.query_params.multi_items())
        self._key = parse_key(request.headers.get("idempotency-key"))
        self._allowed = options
        self._parse_options(())
        self._reception = Reception(
            request,
            limit_bytes=resources.settings.upload_limit_bytes,
            allowed_fields=options,
            check_fields=lambda fields: self._parse_options(fields.items()),
            check_name=check_name,
        )

    async def submit(self) -> AcceptedJob:
        """Return the job. Raises InputProblem or TransientFault, and then has left nothing behind."""
        settings, asked = self._resources.settings, self._parse_options(()).policy
        await self._resources.transact(lambda session: require_policy_id(session, settings, asked))
        if self._key is None:
            return AcceptedJob(await self._take_in(None), is_replayed=False)
        key = self._key
        claim = await self._resources.transact(lambda session: reserve(session, self._tenant, key))
        if isinstance(claim, EarlierAnswer):
            return await self._replay(claim)
        async with _held(self._resources, claim):
            return AcceptedJob(await self._take_in(claim), is_replayed=False)

    async def _replay(self, answer: EarlierAnswer) -> AcceptedJob:
        """Read the body only to compare it: nothing is stored a second time."""
        upload, sha256 = await self._reception.pour(self._resources.uploads, compute_sha256)
        payload_sha256 = self._make_request(upload).digest_with(sha256)
        return AcceptedJob(answer.replay_for(payload_sha256), is_replayed=True)

    async def _take_in(self, reservation: Reservation | None) -> JobBody:
        upload, stored = await self._reception.pour(self._resources.uploads, self._store)
        submission = Submission(self._tenant, self._make_request(upload), upload, stored)
        try:
            callback_url = submission.request.options.callback_url
            if callback_url is not None:
                await check_address(CALLBACK_FIELD, callback_url, self._resources.settings)
            job = await self._make_job(submission, reservation)
        except Exception as error:
            # A cancelled request's transaction runs to its end; a lost connection may have committed. Then a job may
            # name the object; if none does, the hourly sweep removes it.
            if not may_have_committed(error):
                await self._remove(stored)
            raise
        UPLOAD_BYTES.inc(stored.size_bytes)
        _log.info("job accepted", job_id=str(job.id), size_bytes=stored.size_bytes, kind=upload.kind)
        return job

    def _store(self, stream: Readable) -> StoredObject:
        return self._resources.store.write_stream(stream, prefix=_UPLOAD_PREFIX)

    def _make_request(self, upload: ReceivedUpload) -> JobRequest:
        options = self._parse_options(upload.fields.items())
        return JobRequest(options, sanitise_name(upload.file_name) if upload.kind is UploadKind.NIFTI else None)

    def _parse_options(self, fields: Iterable[tuple[str, str]]) -> SubmissionOptions:
        options = parse_options(self._query, fields, allowed=self._allowed)
        if options.callback_url is not None:
            check_written(CALLBACK_FIELD, options.callback_url, self._resources.settings)
        return options

    async def _make_job(self, submission: Submission, reservation: Reservation | None) -> JobBody:
        settings = self._resources.settings

        def write(session: Session) -> JobBody:
            job = add_job(session, settings, submission)
            if reservation is not None:
                payload_sha256 = submission.request.digest_with(submission.stored.sha256)
                keep_answer(session, reservation, payload_sha256, job)
            return job

        return await self._resources.transact(write)

    async def _remove(self, stored: StoredObject) -> None:
        try:
            await self._resources.uploads.run(lambda: self._resources.store.remove(stored.key))
        except TransientFault as fault:
            # The hourly sweep removes what could not be removed now.
            _log.warning("orphan object left", key=stored.key, reason=str(fault))


def compute_sha256(stream: Readable) -> str:
    """Return the digest of a stream, read to its end."""
    digest = hashlib.sha256()
    while chunk := stream.read(MIB):
        digest.update(chunk)
    return digest.hexdigest()


@asynccontextmanager
async def _held(resources: Resources, reservation: Reservation) -> AsyncIterator[None]:
    """Hold a key while the block runs, and give it back when the block fails."""
    renewing = asyncio.create_task(_renew_on_and_on(resources, reservation))
    try:
        yield
    except BaseException:
        with suppress(TransientFault):  # it then lapses by itself
            await resources.transact(lambda session: release(session, reservation))
        raise
    finally:
        renewing.cancel()


async def _renew_on_and_on(resources: Resources, reservation: Reservation) -> None:
    while True:
        await asyncio.sleep(RENEWED_EVERY_S)
        with suppress(TransientFault):
            await resources.transact(lambda session: renew(session, reservation))
