"""What callers may learn of jobs."""

from __future__ import annotations

import uuid
from collections.abc import Collection

from sqlalchemy.orm import Session

from gateway.jobs.intake_repository import FileQuestion, fetch_intake
from gateway.jobs.intake_schemas import (
    IntakeBody,
    SeriesCandidateBody,
    UploadFileBody,
    UploadFileCountBody,
    split_facts,
)
from gateway.jobs.paging import make_cursor, make_file_cursor, parse_cursor, parse_file_cursor
from gateway.jobs.repository import JobFilters, fetch_job_record, fetch_page
from gateway.jobs.schemas import JobBody, JobList, describe_job, describe_problem
from gateway.resources import Resources
from gateway.tenants import Tenant
from shared.file_codes import FileOutcome


async def get_job(resources: Resources, tenant: Tenant, job_id: uuid.UUID) -> JobBody:
    """Return one job. Raises JobNotFound."""
    return describe_job(await resources.transact(lambda session: fetch_job_record(session, tenant, job_id)))


async def list_jobs(
    resources: Resources, tenant: Tenant, filters: JobFilters, *, cursor: str | None, limit: int
) -> JobList:
    """Return one page of jobs, newest first."""
    after = None if cursor is None else parse_cursor(cursor)
    # One more than asked tells whether there is a next page.
    found = await resources.transact(lambda session: fetch_page(session, tenant, filters, after=after, limit=limit + 1))
    page = found[:limit]
    next_cursor = make_cursor(page) if len(found) > limit else None
    return JobList(items=[describe_job(record) for record in page], next_cursor=next_cursor)


async def get_intake(
    resources: Resources,
    tenant: Tenant,
    job_id: uuid.UUID,
    *,
    outcomes: Collection[FileOutcome],
    cursor: str | None,
    limit: int,
) -> IntakeBody:
    """Return what reading the upload found, with one page of its files. Raises JobNotFound or IntakeNotFinished."""
    after = None if cursor is None else parse_file_cursor(cursor)
    question = FileQuestion(limit + 1, after, outcomes)

    def describe(session: Session) -> IntakeBody:
        found = fetch_intake(session, tenant, job_id, question)
        files = found.files[:limit]
        return IntakeBody(
            job_id=job_id,
            state=found.run.state,
            patient=found.patient,
            problem=describe_problem(found.run.problem, job_id),
            candidates=[SeriesCandidateBody.model_validate(one, from_attributes=True) for one in found.candidates],
            candidates_found=found.candidates_found,
            warnings=found.run.warnings,
            file_counts=[UploadFileCountBody.model_validate(one, from_attributes=True) for one in found.file_counts],
            files=[UploadFileBody.model_validate(one, from_attributes=True) for one in files],
            next_cursor=make_file_cursor(files[-1].ordinal) if len(found.files) > limit else None,
            **split_facts(found.run.facts),
        )

    return await resources.transact(describe)
