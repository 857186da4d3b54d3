"""`/v1/jobs/{id}/artifacts`: list and download."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path, Request
from starlette.responses import Response, StreamingResponse

from gateway.artifacts.download import DownloadResponse, open_download
from gateway.artifacts.repository import fetch_artifact, fetch_artifacts
from gateway.artifacts.schemas import ArtifactList, describe_artifact
from gateway.etags import is_known
from gateway.parameters import NO_QUERY, JobId
from gateway.problems.examples import DEPENDENCIES, document_problems
from gateway.resources import ResourcesOf
from gateway.tenants import TenantOf
from shared.problems import ProblemCode
from shared.storage import StoredObject

router = APIRouter(prefix="/v1/jobs/{job_id}/artifacts", tags=["Artefacts"], dependencies=[NO_QUERY])

_PROBLEMS = (ProblemCode.JOB_NOT_FOUND, ProblemCode.ERASED, ProblemCode.VALIDATION_FAILED)
_BINARY_TYPES = (
    "application/octet-stream",
    "application/vnd.blosc2.frame",
    "application/x-blosc2",
    "application/gzip",
    "application/dicom",
    "application/pdf",
    "image/png",
)
_CONTENT: dict[str, Any] = {
    **{name: {"schema": {"type": "string", "format": "binary"}} for name in _BINARY_TYPES},
    "text/html": {"schema": {"type": "string"}},
    "application/json": {"schema": {"type": "object"}},
}
_BYTES: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The bytes, in the media type that the list names.",
        "content": _CONTENT,
    },
    304: {"description": "Not changed since the ETag named."},
}


@router.get(
    "", summary="What a job's stages made", responses=document_problems(*_PROBLEMS, ProblemCode.DATABASE_UNAVAILABLE)
)
async def read_artifacts(job_id: JobId, resources: ResourcesOf, tenant: TenantOf) -> ArtifactList:
    """List the artefacts of a job with their digests."""

    found = await resources.transact(lambda session: fetch_artifacts(session, tenant, job_id))
    return ArtifactList(items=[describe_artifact(artefact) for artefact in found])


@router.get(
    "/{name}",
    summary="Download an artefact",
    response_class=StreamingResponse,
    responses={
        **document_problems(*_PROBLEMS, ProblemCode.NOT_FOUND, ProblemCode.TOO_MANY_STREAMS, *DEPENDENCIES),
        **_BYTES,
    },
)
async def download_artifact(
    request: Request,
    job_id: JobId,
    name: Annotated[str, Path(description="`name` of the list.")],
    resources: ResourcesOf,
    tenant: TenantOf,
) -> Response:
    """Stream the bytes of an artefact. The ETag is its SHA-256; artefacts never change."""
    artefact = await resources.transact(lambda session: fetch_artifact(session, tenant, job_id, name))
    etag = f'"{artefact.sha256}"'
    headers = {"ETag": etag, "Cache-Control": "private, no-cache"}
    if is_known(request, etag):
        return Response(status_code=304, headers=headers)
    headers |= {
        "Content-Length": str(artefact.size_bytes),
        "Content-Disposition": f'attachment; filename="{artefact.kind.file_name}"',
        "X-Content-Type-Options": "nosniff",
    }
    stored = StoredObject(artefact.key, artefact.size_bytes, artefact.sha256)
    download = await open_download(resources, tenant, stored)
    return DownloadResponse(download, media_type=artefact.media_type, headers=headers)
