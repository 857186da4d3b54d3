"""`/v1/jobs/{id}/result` and the JSON Schema of what it answers."""

from __future__ import annotations

import json
from functools import cache
from importlib import resources as package_files
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from gateway.etags import answer_unless_known
from gateway.parameters import NO_QUERY, JobId
from gateway.problems.examples import document_problems
from gateway.resources import ResourcesOf
from gateway.results.repository import fetch_result
from gateway.tenants import TenantOf
from shared.problems import ProblemCode

router = APIRouter(prefix="/v1", tags=["Results"])

SCHEMA_PATH = "/v1/schemas/result"

_RESULT_PROBLEMS = (
    ProblemCode.JOB_NOT_FOUND,
    ProblemCode.ERASED,
    ProblemCode.JOB_NOT_FINISHED,
    ProblemCode.JOB_HAS_NO_RESULT,
    ProblemCode.VALIDATION_FAILED,
    ProblemCode.DATABASE_UNAVAILABLE,
)
_RESULT: dict[int | str, dict[str, Any]] = {
    200: {
        "description": f"The result document; its JSON Schema is at `{SCHEMA_PATH}`.",
        "content": {"application/json": {"schema": {"$ref": SCHEMA_PATH}}},
    },
    304: {"description": "Not changed since the ETag named."},
}


@router.get(
    "/jobs/{job_id}/result",
    summary="The result of a job",
    responses={**document_problems(*_RESULT_PROBLEMS), **_RESULT},
    dependencies=[NO_QUERY],
)
async def read_result(request: Request, job_id: JobId, resources: ResourcesOf, tenant: TenantOf) -> Response:
    """Answer with the result, which never changes. 409 before there is one, and when there will be none."""
    document = await resources.transact(lambda session: fetch_result(session, tenant, job_id))
    return answer_unless_known(request, json.dumps(document, ensure_ascii=False).encode())


@router.get(
    "/schemas/result",
    summary="JSON Schema of the result",
    responses=document_problems(ProblemCode.VALIDATION_FAILED),
    dependencies=[NO_QUERY],
)
async def read_schema(request: Request) -> Response:
    """Answer with the JSON Schema (2020-12) of the result document."""
    return answer_unless_known(request, _load_schema())


@cache
def _load_schema() -> bytes:
    return (package_files.files("shared") / "result.schema.json").read_bytes()
