"""Submission: reserve the key, store the body while it comes, then make the job in one transaction.

Whatever fails on the way, nothing is left behind: no object, no row, no reserved key. Only an object whose job may have
been committed stays, for the sweep to judge.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from http import HTTPStatus

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
from gateway.renewing import held
from gateway.resources import Resources
from gateway.tenants import Tenant
from gateway.uploads.digests import compute_sha256
from gateway.uploads.names import sanitise_name
from gateway.uploads.reception import ReceivedUpload, Reception
from gateway.webhooks.addresses import check_address, check_written
from shared.artefacts import UploadKind
from shared.errors import CommitInDoubt
from shared.metrics import UPLOAD_BYTES
from shared.storage import Readable, StoredObject
from shared.telemetry import get_logger

_log = get_logger()
_UPLOAD_PREFIX = "uploads"

NameCheck = Callable[[str | None], None]


@dataclass(frozen=True)
class AcceptedJob:
    """The answer to a submission; `is_replayed` when an earlier request had been answered with it."""

    job: JobBody
    is_replayed: bool


class Submitter(ABC):
    """Takes one request in; where its bytes come from is for the kinds of submitters to say."""

    def __init__(self, resources: Resources, tenant: Tenant, request: Request, options: frozenset[str]) -> None:
        self._resources = resources
        self._tenant = tenant
        self._query = list(request.query_params.multi_items())
        self._key = parse_key(*request.headers.getlist("idempotency-key"))
        self._allowed = options
        self._parse_options(())

    async def submit(self) -> AcceptedJob:
        """Return the job. Raises InputProblem or TransientFault, and then has left nothing behind."""
        settings, asked = self._resources.settings, await self._read_policy()
        await self._resources.transact(lambda session: require_policy_id(session, settings, asked))
        if self._key is None:
            await self._require_room()
            return AcceptedJob(await self._take_in(None), is_replayed=False)
        key = self._key
        claim = await self._resources.transact(lambda session: reserve(session, self._tenant, key))
        if isinstance(claim, EarlierAnswer):
            return AcceptedJob(claim.replay_for(await self._digest_payload()), is_replayed=True)
        async with held(
            self._resources,
            lambda session: renew(session, claim),
            lambda session: release(session, claim),
            every_s=RENEWED_EVERY_S,
        ):
            await self._require_room()
            return AcceptedJob(await self._take_in(claim), is_replayed=False)

    @abstractmethod
    async def _read_policy(self) -> str | None:
        """Return the policy that is asked for before any bytes are taken in."""

    @abstractmethod
    async def _require_room(self) -> None:
        """Let one more job in. Raises InputProblem or TransientFault where there is no room for it."""

    @abstractmethod
    async def _digest_payload(self) -> str:
        """Read the request only to compare it: nothing is stored a second time."""

    @abstractmethod
    async def _take_in(self, reservation: Reservation | None) -> JobBody:
        """Make the job."""

    def _parse_options(self, fields: Iterable[tuple[str, str]]) -> SubmissionOptions:
        return self._check_options(parse_options(self._query, fields, allowed=self._allowed))

    def _check_options(self, options: SubmissionOptions) -> SubmissionOptions:
        if options.callback_url is not None:
            check_written(CALLBACK_FIELD, options.callback_url, self._resources.settings)
        return options

    async def _check_callback(self, options: SubmissionOptions) -> None:
        if options.callback_url is not None:
            await check_address(CALLBACK_FIELD, options.callback_url, self._resources.settings)


class BodySubmitter(Submitter):
    """The bytes are the body, or a file in it. `check_name` sees the name of the file before any of it is kept."""

    def __init__(
        self,
        resources: Resources,
        tenant: Tenant,
        request: Request,
        *,
        check_name: NameCheck = lambda _: None,
        options: frozenset[str] = OPTION_FIELDS,
    ) -> None:
        super().__init__(resources, tenant, request, options)
        self._reception = Reception(
            request,
            limit_bytes=resources.settings.upload_limit_bytes,
            allowed_fields=options,
            check_fields=lambda fields: self._parse_options(fields.items()),
            check_name=check_name,
        )

    async def _read_policy(self) -> str | None:
        return self._parse_options(()).policy

    async def _require_room(self) -> None:
        await self._resources.pressure.require_room(self._tenant)

    async def _digest_payload(self) -> str:
        upload, sha256 = await self._reception.pour(self._resources.uploads, compute_sha256)
        return self._make_request(upload).digest_with(sha256)

    async def _take_in(self, reservation: Reservation | None) -> JobBody:
        upload, stored = await self._reception.pour(self._resources.uploads, self._store)
        submission = Submission(self._tenant, self._make_request(upload), upload, stored)
        try:
            await self._check_callback(submission.request.options)
            job = await self._make_job(submission, reservation)
        except Exception as error:
            # A cancelled request's transaction runs to its end, and a commit in doubt may stand. Then a job may name
            # the object; if none does, the hourly sweep removes it.
            if not isinstance(error, CommitInDoubt):
                await self._resources.remove_object(stored.key)
            raise
        tell_accepted(job, submission)
        return job

    def _store(self, stream: Readable) -> StoredObject:
        return self._resources.store.write_stream(stream, prefix=_UPLOAD_PREFIX)

    def _make_request(self, upload: ReceivedUpload) -> JobRequest:
        return make_request(self._parse_options(upload.fields.items()), upload)

    async def _make_job(self, submission: Submission, reservation: Reservation | None) -> JobBody:
        settings = self._resources.settings

        def write(session: Session) -> JobBody:
            job = add_job(session, settings, submission)
            if reservation is not None:
                payload_sha256 = submission.request.digest_with(submission.stored.sha256)
                keep_answer(session, reservation, payload_sha256, job)
            return job

        return await self._resources.transact_deed(write, HTTPStatus.ACCEPTED, lambda job: job.links.self)


def make_request(options: SubmissionOptions, upload: ReceivedUpload) -> JobRequest:
    """Return what a job is planned from."""
    return JobRequest(options, sanitise_name(upload.file_name) if upload.kind is UploadKind.NIFTI else None)


def tell_accepted(job: JobBody, submission: Submission) -> None:
    """Count and log a job that was made."""
    size_bytes = submission.stored.size_bytes
    UPLOAD_BYTES.inc(size_bytes)
    _log.info("job accepted", job_id=str(job.id), size_bytes=size_bytes, kind=submission.upload.kind)
