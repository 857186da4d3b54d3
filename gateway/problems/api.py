"""`/v1/problems`, `/v1/file-codes`, `/v1/warnings`: the catalogues that every code leads to.

For programs as JSON; for whoever follows a link in a browser as a page.
"""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import HTMLResponse, Response

from gateway.documentation.markup import HEADERS
from gateway.documentation.negotiation import VARIES, wants_page
from gateway.parameters import NO_QUERY
from gateway.problems.examples import document_problems
from gateway.problems.page import CatalogueBody, render_catalogue
from gateway.problems.schemas import (
    FileKindBody,
    FileKindList,
    NoticeKindBody,
    NoticeKindList,
    ProblemKindBody,
    ProblemKindList,
)
from shared.errors import InputProblem
from shared.file_codes import FILE_CODES, FileCode
from shared.notices import NOTICES, NoticeCode
from shared.problems import CATALOGUE, ProblemCode, make_example

router = APIRouter(prefix="/v1", tags=["Problems"], dependencies=[NO_QUERY])

_PAGE: dict[int | str, dict[str, Any]] = {200: {"content": {"text/html": {"schema": {"type": "string"}}}}}
_OF_LISTS = {**document_problems(ProblemCode.VALIDATION_FAILED), **_PAGE}
_OF_ENTRIES = {**document_problems(ProblemCode.NOT_FOUND, ProblemCode.VALIDATION_FAILED), **_PAGE}


@router.get("/problems", summary="Every problem code", response_model=ProblemKindList, responses=_OF_LISTS)
async def list_problems(request: Request) -> Response:
    """List the catalogue of problems."""
    return _answer(request, ProblemKindList(items=[_describe_problem(code) for code in CATALOGUE]))


@router.get("/problems/{code}", summary="One problem code", response_model=ProblemKindBody, responses=_OF_ENTRIES)
async def get_problem(request: Request, code: str) -> Response:
    """Explain one problem: what was found, what to do, an example."""
    if code not in CATALOGUE:
        raise _make_not_found("/v1/problems")
    return _answer(request, _describe_problem(ProblemCode(code)))


@router.get("/file-codes", summary="Every code of a file", response_model=FileKindList, responses=_OF_LISTS)
async def list_file_codes(request: Request) -> Response:
    """List why files of an upload are ignored or rejected."""
    return _answer(request, FileKindList(items=[_describe_file_code(code) for code in FILE_CODES]))


@router.get("/file-codes/{code}", summary="One code of a file", response_model=FileKindBody, responses=_OF_ENTRIES)
async def get_file_code(request: Request, code: str) -> Response:
    """Explain why a file of an upload was ignored or rejected."""
    if code not in FILE_CODES:
        raise _make_not_found("/v1/file-codes")
    return _answer(request, _describe_file_code(FileCode(code)))


@router.get("/warnings", summary="Every warning", response_model=NoticeKindList, responses=_OF_LISTS)
async def list_warnings(request: Request) -> Response:
    """List what may be odd about a study that is read nevertheless."""
    return _answer(request, NoticeKindList(items=[_describe_notice(code) for code in NOTICES]))


@router.get("/warnings/{code}", summary="One warning", response_model=NoticeKindBody, responses=_OF_ENTRIES)
async def get_warning(request: Request, code: str) -> Response:
    """Explain one warning."""
    if code not in NOTICES:
        raise _make_not_found("/v1/warnings")
    return _answer(request, _describe_notice(NoticeCode(code)))


def _answer(request: Request, body: CatalogueBody) -> Response:
    if wants_page(request):
        return HTMLResponse(render_catalogue(body), headers={**HEADERS, **VARIES})
    return Response(body.model_dump_json(), headers=VARIES, media_type="application/json")


def _make_not_found(catalogue: str) -> InputProblem:
    return InputProblem(ProblemCode.NOT_FOUND, f"There is nothing of this code. `GET {catalogue}` lists all.")


def _describe_problem(code: ProblemCode) -> ProblemKindBody:
    kind = CATALOGUE[code]
    return ProblemKindBody(
        type=f"/v1/problems/{code}",
        code=code,
        title=kind.title,
        status=kind.status,
        cause=kind.cause,
        advice=kind.advice,
        example=make_example(code),
        related=list(kind.related),
    )


def _describe_file_code(code: FileCode) -> FileKindBody:
    kind = FILE_CODES[code]
    return FileKindBody(
        type=f"/v1/file-codes/{code}", code=code, outcome=kind.outcome, meaning=kind.meaning, advice=kind.advice
    )


def _describe_notice(code: NoticeCode) -> NoticeKindBody:
    kind = NOTICES[code]
    return NoticeKindBody(type=f"/v1/warnings/{code}", code=code, meaning=kind.meaning, advice=kind.advice)
