"""`/v1/jobs`: submit a study, follow it, see what reading it found."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from gateway.etags import answer_unless_known
from gateway.instants import Instant
from gateway.jobs.cancelling import cancel_job
from gateway.jobs.documentation import SUBMISSION
from gateway.jobs.erasing import erase_job
from gateway.jobs.estimates import Estimate
from gateway.jobs.intake_schemas import IntakeBody
from gateway.jobs.labels import MOST_LABELS, parse_label_filter
from gateway.jobs.patience import POLL_AFTER_S
from gateway.jobs.preferences import parse_wait
from gateway.jobs.repository import JobFilters
from gateway.jobs.retrying import retry_job
from gateway.jobs.schemas import ErasureBody, JobBody, JobList
from gateway.jobs.service import get_intake, get_job, list_jobs
from gateway.jobs.submission import BodySubmitter
from gateway.jobs.upload_submission import UploadSubmitter, names_an_upload
from gateway.jobs.waiting import wait_for_end
from gateway.parameters import NO_QUERY, JobId
from gateway.problems.examples import DEPENDENCIES, SUBMISSION_PROBLEMS, document_problems
from gateway.resources import ResourcesOf
from gateway.tenants import TenantOf
from shared.file_codes import FileOutcome
from shared.problems import ProblemCode
from shared.pseudonyms import PSEUDONYM_PATTERN
from shared.states import JobState

MOST_JOBS_A_PAGE = 100
MOST_FILES_A_PAGE = 10_000

router = APIRouter(prefix="/v1/jobs", tags=["Jobs"])

_READ_PROBLEMS = (
    ProblemCode.JOB_NOT_FOUND,
    ProblemCode.ERASED,
    ProblemCode.VALIDATION_FAILED,
    ProblemCode.DATABASE_UNAVAILABLE,
)
_OF_UPLOAD = (
    ProblemCode.UPLOAD_NOT_FOUND,
    ProblemCode.UPLOAD_INCOMPLETE,
    ProblemCode.UPLOAD_ALREADY_SUBMITTED,
)
_ENDED: dict[int | str, dict[str, Any]] = {
    200: {"model": JobBody, "description": "The job has ended while the caller waited (`Prefer: wait=N`)."}
}
_NOT_MODIFIED: dict[int | str, dict[str, Any]] = {304: {"description": "Not changed since the ETag named."}}


class ListQuery(BaseModel):
    """Query of a list of jobs."""

    model_config = ConfigDict(extra="forbid")

    limit: int = Field(default=20, ge=1, le=MOST_JOBS_A_PAGE, description="Jobs a page.")
    cursor: str | None = Field(default=None, max_length=200, description="`next_cursor` of the page before.")
    state: list[JobState] = Field(default=[], description="Only jobs in one of these states.")
    patient: str | None = Field(
        default=None, pattern=PSEUDONYM_PATTERN, description="Only jobs of the patient with this pseudonym."
    )
    study_uid: str | None = Field(
        default=None,
        min_length=1,
        max_length=300,
        pattern=r"^[^\x00-\x1f]*$",
        description="Only jobs that read this study, by the `study_uid` of its result.",
    )
    label: list[str] = Field(
        default=[], max_length=MOST_LABELS, description="`name=value`: only jobs with this label; with all of several."
    )
    created_after: Instant | None = Field(default=None, description="Only jobs submitted after this time.")
    created_before: Instant | None = Field(default=None, description="Only jobs submitted before this time.")


class IntakeQuery(BaseModel):
    """Query of what intake found."""

    model_config = ConfigDict(extra="forbid")

    limit: int = Field(default=1000, ge=1, le=MOST_FILES_A_PAGE, description="Files a page.")
    cursor: str | None = Field(default=None, max_length=200, description="`next_cursor` of the page before.")
    outcome: list[FileOutcome] = Field(default=[], description="Only files with one of these outcomes.")


@router.post(
    "",
    status_code=202,
    summary="Submit a study",
    response_model=JobBody,
    responses={**document_problems(*SUBMISSION_PROBLEMS, *_OF_UPLOAD, *DEPENDENCIES, ProblemCode.NOT_READY), **_ENDED},
    openapi_extra=SUBMISSION,
)
async def submit_job(request: Request, resources: ResourcesOf, tenant: TenantOf) -> Response:
    """Take in a ZIP of DICOM files or a NIfTI file, or the id of a completed upload, and answer with the job.

    The body is stored while it comes; its size is limited by `GET /v1/limits`. Follow `Location`. With `Prefer: wait=N`
    the answer comes when the job has ended, then with 200, or after N seconds.
    """
    wait_s = parse_wait(request.headers.getlist("prefer"), int(resources.settings.prefer_wait_limit.total_seconds()))
    submitter = UploadSubmitter if names_an_upload(request) else BodySubmitter
    accepted = await submitter(resources, tenant, request).submit()
    job, headers = accepted.job, {"Location": accepted.job.links.self}
    if accepted.is_replayed:
        headers["Idempotent-Replayed"] = "true"
    if wait_s is not None:
        headers["Preference-Applied"] = f"wait={wait_s}"
        await wait_for_end(resources, request, job.id, wait_s)
        job = await get_job(resources, tenant, job.id)
    if job.state.is_terminal:
        return Response(job.model_dump_json(), 200, headers, media_type="application/json")
    headers["Retry-After"] = str(choose_poll(job))
    return Response(job.model_dump_json(), 202, headers, media_type="application/json")


@router.get("", summary="List jobs", responses=document_problems(*_READ_PROBLEMS[2:]))
async def read_jobs(query: Annotated[ListQuery, Query()], resources: ResourcesOf, tenant: TenantOf) -> JobList:
    """List jobs, newest first."""
    filters = JobFilters(
        states=query.state,
        patient=query.patient,
        study_uid=query.study_uid,
        labels=parse_label_filter(query.label),
        created_after=query.created_after,
        created_before=query.created_before,
    )
    return await list_jobs(resources, tenant, filters, cursor=query.cursor, limit=query.limit)


@router.get(
    "/{job_id}",
    summary="Follow a job",
    response_model=JobBody,
    responses={**document_problems(*_READ_PROBLEMS), **_NOT_MODIFIED},
    dependencies=[NO_QUERY],
)
async def read_job(request: Request, job_id: JobId, resources: ResourcesOf, tenant: TenantOf) -> Response:
    """Answer with a job: its state, its stages and how far it is. `Retry-After` says when to ask again."""
    job = await get_job(resources, tenant, job_id)
    if job.state.is_terminal:
        return answer_unless_known(request, job.model_dump_json().encode())
    headers = {"Retry-After": str(choose_poll(job))}
    # The estimate shrinks with every second; a job that only came nearer to its end has not changed.
    judged = job.model_dump_json(exclude={"eta"}).encode()
    return answer_unless_known(request, job.model_dump_json().encode(), headers=headers, judged=judged)


@router.post(
    "/{job_id}/cancel",
    summary="Cancel a job",
    responses=document_problems(*_READ_PROBLEMS, ProblemCode.JOB_ALREADY_FINISHED),
    dependencies=[NO_QUERY],
)
async def cancel(job_id: JobId, resources: ResourcesOf, tenant: TenantOf) -> JobBody:
    """End a job that has not ended, at any stage, and answer with it. Again is no error; after another end, 409 is."""
    return await resources.transact_deed(lambda session: cancel_job(session, tenant, job_id), HTTPStatus.OK)


@router.post(
    "/{job_id}/retry",
    status_code=202,
    summary="Retry a failed job",
    response_model=JobBody,
    responses=document_problems(*_READ_PROBLEMS, ProblemCode.JOB_CANNOT_BE_RETRIED),
    dependencies=[NO_QUERY],
)
async def retry(job_id: JobId, resources: ResourcesOf, tenant: TenantOf) -> Response:
    """Let a job that failed go on under its id: stages that succeeded are kept, the others run anew."""
    job = await resources.transact_deed(
        lambda session: retry_job(session, resources.settings, tenant, job_id),
        HTTPStatus.ACCEPTED,
        lambda retried: retried.links.self,
    )
    headers = {"Location": job.links.self, "Retry-After": str(choose_poll(job))}
    return Response(job.model_dump_json(), 202, headers, media_type="application/json")


@router.delete(
    "/{job_id}",
    summary="Erase a job",
    responses=document_problems(*_READ_PROBLEMS, ProblemCode.STORAGE_UNAVAILABLE),
    dependencies=[NO_QUERY],
)
async def erase(job_id: JobId, resources: ResourcesOf, tenant: TenantOf) -> ErasureBody:
    """Remove the study, everything made of it and every row of the job, cancelling it first where it still runs.

    The answer is a certificate. Afterwards every address of the job answers 410 with its id.
    """
    return await resources.transact_deed(
        lambda session: erase_job(session, resources.store, tenant, job_id), HTTPStatus.OK
    )


@router.get(
    "/{job_id}/intake",
    summary="What reading the upload found",
    responses=document_problems(*_READ_PROBLEMS, ProblemCode.INTAKE_NOT_FINISHED),
)
async def read_intake(
    job_id: JobId, query: Annotated[IntakeQuery, Query()], resources: ResourcesOf, tenant: TenantOf
) -> IntakeBody:
    """Answer with every file of the upload, page by page, and every series that could have been read, with reasons."""
    return await get_intake(resources, tenant, job_id, outcomes=query.outcome, cursor=query.cursor, limit=query.limit)


def choose_poll(job: JobBody) -> int:
    """Return after how many seconds to look at a job again, by what was measured of others like it."""
    return POLL_AFTER_S if job.eta is None else Estimate(job.eta.p50_s, job.eta.p90_s).poll_after_s
