"""`/v1/jobs/{id}/receipt`, and `/v1/receipt-key`, which verifies it."""

from __future__ import annotations

import json
import uuid

from fastapi import APIRouter, Request
from sqlalchemy.orm import Session
from starlette.responses import Response

from gateway.etags import answer_unless_known
from gateway.parameters import NO_QUERY, JobId
from gateway.problems.examples import document_problems
from gateway.receipts.schemas import PublicKeyBody, ReceiptBody
from gateway.resources import ResourcesOf
from gateway.results.repository import fetch_result
from gateway.tenants import Tenant, TenantOf
from shared.errors import InputProblem
from shared.problems import ProblemCode
from shared.receipts import read_receipt_key
from shared.tables import Document, Result

router = APIRouter(prefix="/v1", tags=["Results"], dependencies=[NO_QUERY])

_PROBLEMS = (
    ProblemCode.JOB_NOT_FOUND,
    ProblemCode.ERASED,
    ProblemCode.JOB_NOT_FINISHED,
    ProblemCode.JOB_HAS_NO_RESULT,
    ProblemCode.NOT_FOUND,
    ProblemCode.VALIDATION_FAILED,
    ProblemCode.DATABASE_UNAVAILABLE,
)


@router.get(
    "/jobs/{job_id}/receipt",
    summary="The signed receipt of a result",
    response_model=ReceiptBody,
    responses=document_problems(*_PROBLEMS),
)
async def read_receipt(request: Request, job_id: JobId, resources: ResourcesOf, tenant: TenantOf) -> Response:
    """Answer with the receipt that was signed when the result was published; it never changes.

    `ctclip verify RESULT RECEIPT --public-key KEY` holds a copy of the result against it, without the platform. 404
    where the installation signed none.
    """
    receipt = await resources.transact(lambda session: _fetch_receipt(session, tenant, job_id))
    return answer_unless_known(request, json.dumps(receipt).encode())


@router.get(
    "/receipt-key",
    summary="The public key of receipts",
    responses=document_problems(ProblemCode.NOT_FOUND, ProblemCode.VALIDATION_FAILED),
)
async def read_public_key(resources: ResourcesOf) -> PublicKeyBody:
    """Answer with the key that new receipts are verified with. Keep it: a key that was replaced is not told here."""
    key = read_receipt_key(resources.settings.receipt_key)
    if key is None:
        raise InputProblem(ProblemCode.NOT_FOUND, "This installation signs no receipts: it has no key for them.")
    return PublicKeyBody.model_validate(key.describe_public())


def _fetch_receipt(session: Session, tenant: Tenant, job_id: uuid.UUID) -> Document:
    fetch_result(session, tenant, job_id)
    result = session.get_one(Result, job_id)
    if result.receipt is None:
        raise InputProblem(ProblemCode.NOT_FOUND, "The result has no receipt: no key was set when it was published.")
    return result.receipt
