"""`/v1/problems`: the catalogue that every `type` of a problem leads to."""

from __future__ import annotations

from fastapi import APIRouter

from gateway.parameters import NO_QUERY
from gateway.problems.examples import document_problems
from gateway.problems.schemas import ProblemKindBody, ProblemKindList
from shared.errors import InputProblem
from shared.problems import CATALOGUE, ProblemCode

router = APIRouter(prefix="/v1/problems", tags=["Problems"], dependencies=[NO_QUERY])


@router.get("", summary="Every problem code", responses=document_problems(ProblemCode.VALIDATION_FAILED))
async def list_problems() -> ProblemKindList:
    """List the catalogue."""
    return ProblemKindList(items=[_describe(code) for code in CATALOGUE])


@router.get(
    "/{code}",
    summary="One problem code",
    responses=document_problems(ProblemCode.NOT_FOUND, ProblemCode.VALIDATION_FAILED),
)
async def get_problem(code: str) -> ProblemKindBody:
    """Explain one code: what it means and what to do."""
    if code not in CATALOGUE:
        raise InputProblem(ProblemCode.NOT_FOUND, "There is no problem of this code. `GET /v1/problems` lists all.")
    return _describe(ProblemCode(code))


def _describe(code: ProblemCode) -> ProblemKindBody:
    kind = CATALOGUE[code]
    return ProblemKindBody(
        type=f"/v1/problems/{code}", code=code, title=kind.title, status=kind.status, advice=kind.advice
    )
