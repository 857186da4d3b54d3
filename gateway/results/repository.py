"""Rows of results."""

from __future__ import annotations

import uuid

from sqlalchemy.orm import Session

from gateway.jobs.errors import JobNotFinished
from gateway.jobs.patience import choose_wait_for_end
from gateway.jobs.repository import fetch_job
from gateway.jobs.schemas import describe_problem
from gateway.tenants import Tenant
from shared.errors import InputProblem
from shared.problems import ProblemCode
from shared.tables import Document, Job, Result
from shared.tracing import parse_trace_id


class JobHasNoResult(InputProblem):
    """The job ended without a result; `job_problem` says why."""

    def __init__(self, job: Job) -> None:
        problem = describe_problem(job.problem, job.id, parse_trace_id(job.traceparent))
        super().__init__(
            ProblemCode.JOB_HAS_NO_RESULT,
            _explain(job),
            job_state=str(job.state),
            job_problem=problem.model_dump(mode="json") if problem else None,
        )


def _explain(job: Job) -> str:
    if job.state.has_result:
        return "The job was a validation (`validate_only`): the study was accepted and no model read it."
    return f"The job is {job.state}: there will be no result."


def fetch_result(session: Session, tenant: Tenant, job_id: uuid.UUID) -> Document:
    """Return the result of a job. Raises JobNotFound, JobNotFinished or JobHasNoResult."""
    job = fetch_job(session, tenant, job_id)
    if not job.state.is_terminal:
        raise JobNotFinished(job.state, choose_wait_for_end(session, job_id))
    result = session.get(Result, job_id)
    if result is None or not job.state.has_result:
        raise JobHasNoResult(job)
    return result.document
