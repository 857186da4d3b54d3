"""`/v1/uploads`: a file that comes in parts, so that a cut connection costs one of them."""

from __future__ import annotations

import uuid
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Request
from starlette.responses import Response

from gateway.json_bodies import JsonRoute
from gateway.parameters import NO_QUERY
from gateway.problems.examples import DEPENDENCIES, JSON_PROBLEMS, document_problems
from gateway.resources import ResourcesOf
from gateway.tenants import TenantOf
from gateway.uploads import service
from gateway.uploads.assembly import complete_upload
from gateway.uploads.division import MOST_PARTS
from gateway.uploads.errors import UploadNotFound
from gateway.uploads.repository import fetch_described, fetch_open
from gateway.uploads.schemas import CreateUploadBody, PartBody, UploadBody, UploadList
from shared.problems import ProblemCode

router = APIRouter(prefix="/v1/uploads", tags=["Uploads"], route_class=JsonRoute)

_ALWAYS = (ProblemCode.VALIDATION_FAILED, ProblemCode.DATABASE_UNAVAILABLE)
_OF_ONE = (ProblemCode.UPLOAD_NOT_FOUND, *_ALWAYS)
_OF_PART = (
    ProblemCode.UPLOAD_PART_UNKNOWN,
    ProblemCode.UPLOAD_PART_SIZE_WRONG,
    ProblemCode.UPLOAD_PART_CONFLICT,
    ProblemCode.UPLOAD_ALREADY_COMPLETE,
    ProblemCode.UPLOAD_BUSY,
    ProblemCode.UPLOAD_INTERRUPTED,
    ProblemCode.NOT_AN_ARCHIVE,
    ProblemCode.CHECKSUM_MISMATCH,
    ProblemCode.MALFORMED_REQUEST,
    ProblemCode.STORAGE_UNAVAILABLE,
    ProblemCode.NO_SPACE,
)
_PART: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": "The bytes of the part: `part_size_bytes` of them, the rest in the last part.",
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    },
    "parameters": [
        {
            "name": "Content-Digest",
            "in": "header",
            "required": False,
            "description": "SHA-256 or SHA-512 of the part (RFC 9530), held against what comes.",
            "schema": {"type": "string"},
            "example": "sha-256=:X48E9qOokqqrvdts8nOJRJN3OWDUoyWxBf7kbu9DBPE=:",
        }
    ],
}


def parse_upload_id(
    upload_id: Annotated[str, Path(description="Id of an upload.", examples=["6d0f7a2e-3b52-4f0d-8c55-0e4b1f6a9d33"])],
) -> uuid.UUID:
    """Return the id in the address; what is no id leads to no upload."""
    try:
        return uuid.UUID(upload_id)
    except ValueError as error:
        raise UploadNotFound from error


UploadId = Annotated[uuid.UUID, Depends(parse_upload_id)]
PartNumber = Annotated[int, Path(description=f"Number of the part, from 1 to `parts` ({MOST_PARTS} at most).")]


@router.post(
    "",
    status_code=201,
    summary="Begin an upload in parts",
    dependencies=[NO_QUERY],
    responses=document_problems(
        ProblemCode.TOO_MANY_UPLOADS,
        ProblemCode.TENANT_STORAGE_FULL,
        ProblemCode.NO_SPACE,
        *JSON_PROBLEMS,
        *_ALWAYS,
    ),
)
async def create_upload(
    body: CreateUploadBody, response: Response, resources: ResourcesOf, tenant: TenantOf
) -> UploadBody:
    """Announce a file and learn in which parts to send it. `PUT` each, complete the upload, submit it by its id."""
    made = await service.create_upload(resources, tenant, body)
    response.headers["Location"] = f"/v1/uploads/{made.id}"
    return made


@router.get("", summary="List uploads", dependencies=[NO_QUERY], responses=document_problems(*_ALWAYS))
async def list_uploads(resources: ResourcesOf, tenant: TenantOf) -> UploadList:
    """List all uploads that are no job yet, newest first."""
    return await resources.transact(lambda session: UploadList(items=fetch_open(session, tenant)))


@router.get("/{upload_id}", summary="One upload", dependencies=[NO_QUERY], responses=document_problems(*_OF_ONE))
async def read_upload(upload_id: UploadId, resources: ResourcesOf, tenant: TenantOf) -> UploadBody:
    """Answer with an upload. `received_parts` tells what need not be sent again after a cut."""
    return await resources.transact(lambda session: fetch_described(session, tenant, upload_id))


@router.put(
    "/{upload_id}/parts/{number}",
    summary="Send a part",
    dependencies=[NO_QUERY],
    responses=document_problems(*_OF_ONE, *_OF_PART),
    openapi_extra=_PART,
)
async def put_part(
    upload_id: UploadId, number: PartNumber, request: Request, resources: ResourcesOf, tenant: TenantOf
) -> PartBody:
    """Send the bytes of a part, in any order and several at once. The same bytes again are no error."""
    return await service.receive_part(resources, tenant, request, upload_id, number)


@router.post(
    "/{upload_id}/complete",
    summary="Complete an upload",
    dependencies=[NO_QUERY],
    responses=document_problems(
        ProblemCode.UPLOAD_INCOMPLETE,
        ProblemCode.UPLOAD_BUSY,
        ProblemCode.CHECKSUM_MISMATCH,
        *_OF_ONE,
        *DEPENDENCIES[1:],
    ),
)
async def complete(upload_id: UploadId, resources: ResourcesOf, tenant: TenantOf) -> UploadBody:
    """Put the parts together and answer with the SHA-256 of the whole. Again is no error. Then `POST /v1/jobs`."""
    return await complete_upload(resources, tenant, upload_id)


@router.delete(
    "/{upload_id}",
    status_code=204,
    summary="Abort an upload",
    dependencies=[NO_QUERY],
    responses=document_problems(ProblemCode.UPLOAD_BUSY, *_OF_ONE, *DEPENDENCIES[1:]),
)
async def abort(upload_id: UploadId, resources: ResourcesOf, tenant: TenantOf) -> None:
    """Remove an upload and all that came of it. A job that was made of it stays."""
    await resources.transact_deed(
        lambda session: service.abort_upload(session, resources.store, tenant, upload_id), HTTPStatus.NO_CONTENT
    )
