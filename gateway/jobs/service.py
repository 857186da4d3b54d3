"""What callers may learn of jobs."""

from __future__ import annotations

import uuid
from collections.abc import Collection

from sqlalchemy.orm import Session

from gateway.jobs.paging import make_cursor, parse_cursor
from gateway.jobs.repository import fetch_intake, fetch_job_record, fetch_page
from gateway.jobs.schemas import (
    IntakeBody,
    JobBody,
    JobList,
    SeriesCandidateBody,
    UploadFileBody,
    describe_job,
    describe_problem,
)
from gateway.resources import Resources
from gateway.tenants import Tenant
from shared.states import JobState


async def get_job(resources: Resources, tenant: Tenant, job_id: uuid.UUID) -> JobBody:
    """Return one job. Raises JobNotFound."""
    return describe_job(await resources.transact(lambda session: fetch_job_record(session, tenant, job_id)))


async def list_jobs(
    resources: Resources, tenant: Tenant, *, states: Collection[JobState], cursor: str | None, limit: int
) -> JobList:
    """Return one page of jobs, newest first."""
    after = None if cursor is None else parse_cursor(cursor)
    # One more than asked tells whether there is a next page.
    found = await resources.transact(
        lambda session: fetch_page(session, tenant, states=states, after=after, limit=limit + 1)
    )
    page = found[:limit]
    next_cursor = make_cursor(page) if len(found) > limit else None
    return JobList(items=[describe_job(record) for record in page], next_cursor=next_cursor)


async def get_intake(resources: Resources, tenant: Tenant, job_id: uuid.UUID) -> IntakeBody:
    """Return what reading the upload found. Raises JobNotFound or IntakeNotFinished."""

    def describe(session: Session) -> IntakeBody:
        found = fetch_intake(session, tenant, job_id)
        return IntakeBody(
            job_id=job_id,
            state=found.run.state,
            problem=describe_problem(found.run.problem, job_id),
            files=[UploadFileBody.model_validate(file, from_attributes=True) for file in found.files],
            candidates=[
                SeriesCandidateBody.model_validate(candidate, from_attributes=True) for candidate in found.candidates
            ],
            warnings=found.run.warnings,
            facts=found.run.facts,
        )

    return await resources.transact(describe)
