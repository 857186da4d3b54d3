"""Submission of a completed upload: a JSON body names it, and its object passes to the job in one transaction."""

from __future__ import annotations

import json
import uuid
from http import HTTPStatus

from fastapi import Request
from pydantic import Field, ValidationError
from python_multipart.multipart import parse_options_header
from sqlalchemy.orm import Session

from gateway.jobs.acceptance import Submission, add_job
from gateway.jobs.idempotency import Reservation, keep_answer
from gateway.jobs.options import OPTION_FIELDS, JobRequest, SubmissionOptions, name_wrong_fields
from gateway.jobs.schemas import JobBody
from gateway.jobs.submission import Submitter, make_request, tell_accepted
from gateway.json_bodies import read_json_body
from gateway.problems.handlers import UNREADABLE_JSON, InvalidFields, make_pointer
from gateway.resources import Resources
from gateway.tenants import Tenant
from gateway.uploads.errors import UploadAlreadySubmitted, UploadIncomplete
from gateway.uploads.names import LONGEST_NAME
from gateway.uploads.reception import ReceivedUpload
from gateway.uploads.repository import fetch_parts, fetch_upload
from gateway.uploads.schemas import get_division
from shared.artefacts import UploadKind
from shared.errors import InputProblem
from shared.problems import FieldError, ProblemCode
from shared.storage import StoredObject
from shared.upload_tables import Upload


class UploadSubmission(SubmissionOptions):
    """What a JSON submission holds: the upload, and the options that a form would carry."""

    upload_id: uuid.UUID
    file_name: str | None = Field(default=None, max_length=LONGEST_NAME)


def names_an_upload(request: Request) -> bool:
    """Say whether the body is JSON, and so can only name an upload."""
    media_type, _ = parse_options_header(request.headers.get("content-type"))
    return media_type == b"application/json"


class UploadSubmitter(Submitter):
    """The bytes lie in storage already."""

    def __init__(self, resources: Resources, tenant: Tenant, request: Request) -> None:
        super().__init__(resources, tenant, request, OPTION_FIELDS)
        self._request = request
        self._asked: UploadSubmission | None = None

    async def _read_policy(self) -> str | None:
        self._asked = self._merge(await _read_document(self._request))
        self._check_options(self._asked)
        return self._asked.policy

    async def _require_room(self) -> None:
        await self._resources.pressure.require_queue(self._tenant)

    async def _digest_payload(self) -> str:
        asked = self._require_asked()
        return await self._resources.transact(lambda session: self._digest_again(session, asked))

    async def _take_in(self, reservation: Reservation | None) -> JobBody:
        asked = self._require_asked()
        await self._check_callback(asked)
        job, submission = await self._resources.transact_deed(
            lambda session: self._write(session, asked, reservation),
            HTTPStatus.ACCEPTED,
            lambda written: written[0].links.self,
        )
        tell_accepted(job, submission)
        return job

    def _write(
        self, session: Session, asked: UploadSubmission, reservation: Reservation | None
    ) -> tuple[JobBody, Submission]:
        upload = fetch_upload(session, self._tenant, asked.upload_id, is_locked=True)
        stored, received = _take_over(session, upload, asked.file_name)
        submission = Submission(self._tenant, _make_request(asked, received), received, stored)
        job = add_job(session, self._resources.settings, submission)
        upload.job_id, upload.key = job.id, None  # the object is the job's from now on
        if reservation is not None:
            keep_answer(session, reservation, submission.request.digest_with(stored.sha256), job)
        return job, submission

    def _merge(self, document: dict[str, object]) -> UploadSubmission:
        """Return the body together with the options of the query. Raises InvalidFields."""
        in_query = self._parse_options(()).model_dump(exclude_unset=True, mode="json")
        twice = [FieldError(make_pointer([name]), "Sent more than once") for name in in_query if name in document]
        if twice:
            raise InvalidFields(*twice)
        try:
            return UploadSubmission.model_validate_json(json.dumps({**in_query, **document}), strict=True)
        except ValidationError as error:
            raise name_wrong_fields(error) from error
        except RecursionError as error:  # nested just less deeply than what cannot be read
            raise _make_malformed() from error

    def _require_asked(self) -> UploadSubmission:
        assert self._asked is not None  # the body is read before anything else
        return self._asked

    def _digest_again(self, session: Session, asked: UploadSubmission) -> str:
        """Return the digest of the bytes and of what is asked: the same however often, and as what, they were sent."""
        upload = fetch_upload(session, self._tenant, asked.upload_id)
        if upload.sha256 is None:
            raise _make_incomplete(session, upload)
        return _make_request(asked, _describe(upload, asked.file_name)).digest_with(upload.sha256)


def _take_over(session: Session, upload: Upload, file_name: str | None) -> tuple[StoredObject, ReceivedUpload]:
    """Return the bytes of a locked upload. Raises UploadAlreadySubmitted or UploadIncomplete."""
    if upload.job_id is not None:
        raise UploadAlreadySubmitted(upload.job_id)
    if upload.key is None or upload.sha256 is None:
        raise _make_incomplete(session, upload)
    return StoredObject(upload.key, upload.size_bytes, upload.sha256), _describe(upload, file_name)


def _describe(upload: Upload, file_name: str | None) -> ReceivedUpload:
    return ReceivedUpload(UploadKind(str(upload.kind)), str(upload.media_type), file_name, {})


def _make_request(asked: UploadSubmission, received: ReceivedUpload) -> JobRequest:
    options = SubmissionOptions.model_validate(asked.model_dump(include=set(OPTION_FIELDS)))
    return make_request(options, received)


def _make_incomplete(session: Session, upload: Upload) -> UploadIncomplete:
    received = {part.number for part in fetch_parts(session, upload.id)}
    return UploadIncomplete(sorted(set(range(1, get_division(upload).parts + 1)) - received))


async def _read_document(request: Request) -> dict[str, object]:
    """Return the JSON object in the body. Raises InputProblem."""
    body = await read_json_body(request)
    try:
        document = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise _make_malformed() from error
    if not isinstance(document, dict):
        raise InvalidFields(FieldError("", "Expected an object with upload_id"))
    return document


def _make_malformed() -> InputProblem:
    return InputProblem(ProblemCode.MALFORMED_REQUEST, UNREADABLE_JSON)
