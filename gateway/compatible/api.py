"""`/predict` and `/predict_nifti`, exactly as existing callers know them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter, Request
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

from gateway.compatible.schemas import DetailBody, FailureBody, PredictionBody
from gateway.compatible.service import Prediction, PredictionFailed, ReadStudy, choose_status
from gateway.jobs.documentation import describe_upload_form
from gateway.jobs.schemas import make_job_path
from gateway.problems.examples import SUBMISSION_PROBLEMS
from gateway.problems.handlers import RetryLater, describe_fault
from gateway.problems.responses import leaves_a_long_body
from gateway.resources import Resources, ResourcesOf
from gateway.tenants import Tenant, TenantOf
from shared.errors import InputProblem, TransientFault
from shared.metrics import PROBLEMS
from shared.problems import CATALOGUE, Problem, ProblemCode, access
from shared.settings import WeightsProfile
from shared.telemetry import get_logger

router = APIRouter(tags=["Compatible"])

_log = get_logger()
_ZIP_EXTENSIONS = (".zip",)
_NIFTI_EXTENSIONS = (".nii", ".nii.gz")
_RETRY_AFTER_S = "5"
_PROFILE_HEADER = "X-Weights-Profile"
_SUCCESS: dict[str, Any] = {
    "description": "The seven fields.",
    "headers": {
        _PROFILE_HEADER: {
            "description": "The weights that answered. `demo` says nothing about patients.",
            "schema": {"type": "string", "enum": [str(profile) for profile in WeightsProfile]},
        },
        "Link": {
            "description": 'The whole result of the job, with `rel="describedby"`.',
            "schema": {"type": "string"},
        },
    },
}


def _document_answers() -> dict[int | str, dict[str, Any]]:
    """Return success, and every failure by status with an example of each code."""
    by_status: dict[int | str, dict[str, Any]] = {
        200: _SUCCESS,
        400: {
            "model": DetailBody,
            "description": "Wrong extension.",
            "content": {"application/json": {"example": {"detail": "The file's name must end in .zip."}}},
        },
    }
    for code in _list_answerable_codes():
        status = choose_status(Problem(code, "").to_document())
        entry = by_status.setdefault(
            status,
            {"model": FailureBody, "description": "No prediction.", "content": {"application/json": {"examples": {}}}},
        )
        body = FailureBody(time_of_processing=0.8, error=f"{code}: {CATALOGUE[code].title}.").model_dump()
        entry["content"]["application/json"]["examples"][str(code)] = {"value": body}
    return by_status


def _list_answerable_codes() -> list[ProblemCode]:
    """Return what may end a submission or a job: everything but what only the job API asks."""
    asked_elsewhere = {
        *access.KINDS,  # told at the gate, before this
        ProblemCode.NOT_FOUND,
        ProblemCode.METHOD_NOT_ALLOWED,
        ProblemCode.JOB_NOT_FOUND,
        ProblemCode.ERASED,
        ProblemCode.JOB_NOT_FINISHED,
        ProblemCode.JOB_HAS_NO_RESULT,
        ProblemCode.INTAKE_NOT_FINISHED,
        ProblemCode.JOB_ALREADY_FINISHED,
        ProblemCode.TOO_MANY_STREAMS,
        ProblemCode.CALLBACK_URL_NOT_ALLOWED,
        ProblemCode.WEBHOOK_NOT_FOUND,
        ProblemCode.WEBHOOK_DISABLED,
        ProblemCode.WEBHOOK_LIMIT_REACHED,
    }
    return [code for code in (*SUBMISSION_PROBLEMS, *CATALOGUE) if code not in asked_elsewhere]


_ANSWERS = _document_answers()


@router.post(
    "/predict",
    summary="Read a ZIP and wait for the answer",
    response_model=PredictionBody,
    responses=_ANSWERS,
    openapi_extra=describe_upload_form("Field `file`: a ZIP of the DICOM files of one study; its name ends in `.zip`."),
)
async def predict(request: Request, resources: ResourcesOf, tenant: TenantOf) -> Response:
    """Submit a study, wait, and answer with seven fields. `POST /v1/jobs` is the better way in."""
    return await _answer(resources, tenant, request, _ZIP_EXTENSIONS)


@router.post(
    "/predict_nifti",
    summary="Read a NIfTI file and wait for the answer",
    response_model=PredictionBody,
    responses=_ANSWERS,
    openapi_extra=describe_upload_form("Field `file`: a volume in Hounsfield units, named `.nii` or `.nii.gz`."),
)
async def predict_nifti(request: Request, resources: ResourcesOf, tenant: TenantOf) -> Response:
    """Submit a volume, wait, and answer with seven fields; the identifiers are made from the file's name."""
    return await _answer(resources, tenant, request, _NIFTI_EXTENSIONS)


async def _answer(resources: Resources, tenant: Tenant, request: Request, extensions: tuple[str, ...]) -> Response:
    prediction = Prediction(resources, tenant, request, extensions)
    try:
        study = await prediction.run()
        return JSONResponse(study.body.model_dump(), headers=_describe_study(study))
    except HTTPException as error:
        return JSONResponse({"detail": error.detail}, error.status_code, _choose_headers(request, error.status_code))
    except PredictionFailed as failed:
        return _fail(request, failed.status, failed.message, failed.seconds, failed.headers)
    except (InputProblem, TransientFault) as error:
        problem = error.problem if isinstance(error, InputProblem) else describe_fault(error)
        PROBLEMS.labels(code=problem.code).inc()
        _log.warning(
            "no prediction", code=problem.code, reason=str(error) if isinstance(error, TransientFault) else None
        )
        headers = {"Retry-After": str(error.retry_after_s)} if isinstance(error, RetryLater) else None
        return _fail(request, choose_status(problem.to_document()), _explain(problem), prediction.seconds, headers)


def _explain(problem: Problem) -> str:
    """Return the problem in one line; the predecessor's answer has no other place to name wrong fields."""
    wrong = "; ".join(f"{error.pointer}: {error.message}" for error in problem.errors)
    return f"{problem.code}: {problem.kind.title}. " + (wrong or problem.detail)


def _describe_study(study: ReadStudy) -> dict[str, str]:
    """Return what the seven fields have no room for: which weights answered, and where the whole result is."""
    return {
        _PROFILE_HEADER: study.weights_profile,
        "Link": f'<{make_job_path(study.job_id)}/result>; rel="describedby"',
    }


def _fail(
    request: Request, status: int, message: str, seconds: float, headers: Mapping[str, str] | None = None
) -> Response:
    body = FailureBody(time_of_processing=round(seconds, 3), error=message)
    return JSONResponse(body.model_dump(), status, {**_choose_headers(request, status), **(headers or {})})


def _choose_headers(request: Request, status: int) -> dict[str, str]:
    headers = {"Retry-After": _RETRY_AFTER_S} if status == CATALOGUE[ProblemCode.NOT_READY].status else {}
    if leaves_a_long_body(request.scope):
        headers["Connection"] = "close"
    return headers
