"""Rows of jobs: reading them."""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import Select, any_, func, select, tuple_
from sqlalchemy.orm import Session

from gateway.jobs.errors import JobErased, JobNotFound
from gateway.jobs.measurements import fetch_estimates, fetch_places
from gateway.jobs.schemas import JobRecord
from gateway.tenants import Tenant
from shared.access_tables import Erasure
from shared.errors import InputProblem
from shared.stages import StageName
from shared.states import JobState
from shared.tables import Job, StageRun


@dataclass(frozen=True)
class PagePosition:
    """The last job of a page; the next page begins after it."""

    created_at: datetime
    job_id: uuid.UUID


@dataclass(frozen=True)
class JobFilters:
    """Which jobs are asked for; what is empty asks for nothing. The times are exclusive."""

    states: Collection[JobState] = ()
    patient: str | None = None
    study_uid: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    created_after: datetime | None = None
    created_before: datetime | None = None


def fetch_job(session: Session, tenant: Tenant, job_id: uuid.UUID) -> Job:
    """Return a job. Raises JobErased, or JobNotFound, for another tenant's too."""
    job = session.scalar(select(Job).where(Job.id == job_id, Job.tenant == tenant))
    if job is None:
        raise _explain_absence(session, tenant, job_id)
    return job


def lock_job(session: Session, tenant: Tenant, job_id: uuid.UUID) -> Job:
    """Lock and return a job as it is now. Raises JobErased or JobNotFound, also where it goes while this waits for it.

    Its key is left free: events of running stages refer to it.
    """
    query = select(Job).where(Job.id == job_id, Job.tenant == tenant).with_for_update(key_share=True)
    job = session.scalar(query.execution_options(populate_existing=True))
    if job is None:
        raise _explain_absence(session, tenant, job_id)
    return job


def _explain_absence(session: Session, tenant: Tenant, job_id: uuid.UUID) -> InputProblem:
    erasure = session.scalar(select(Erasure).where(Erasure.job_id == job_id, Erasure.tenant == tenant))
    return JobNotFound() if erasure is None else JobErased(erasure)


def fetch_job_record(session: Session, tenant: Tenant, job_id: uuid.UUID) -> JobRecord:
    """Return a job with its stages. Raises JobNotFound."""
    return complete_records(session, [fetch_job(session, tenant, job_id)])[0]


def fetch_page(
    session: Session, tenant: Tenant, filters: JobFilters, *, after: PagePosition | None, limit: int
) -> list[JobRecord]:
    """Return up to `limit` jobs, newest first."""
    query = _apply_filters(select(Job).where(Job.tenant == tenant), filters)
    if after is not None:
        query = query.where(tuple_(Job.created_at, Job.id) < (after.created_at, after.job_id))
    jobs = session.scalars(query.order_by(Job.created_at.desc(), Job.id.desc()).limit(limit)).all()
    return complete_records(session, jobs)


def _apply_filters(query: Select[Job], filters: JobFilters) -> Select[Job]:
    if filters.states:
        query = query.where(Job.state.in_(filters.states))
    if filters.patient is not None:
        query = query.where(Job.patient_pseudonym == filters.patient)
    if filters.labels:
        query = query.where(Job.labels.contains(dict(filters.labels)))
    if filters.study_uid is not None:
        is_read = (StageRun.stage == StageName.INTAKE) & (StageRun.facts["study_uid"].astext == filters.study_uid)
        # As an array: otherwise the planner looks for the study through all jobs of the tenant, newest first.
        query = query.where(Job.id == any_(func.array(select(StageRun.job_id).where(is_read).scalar_subquery())))
    if filters.created_after is not None:
        query = query.where(Job.created_at > filters.created_after)
    if filters.created_before is not None:
        query = query.where(Job.created_at < filters.created_before)
    return query


def complete_records(session: Session, jobs: Sequence[Job]) -> list[JobRecord]:
    """Add stages, places in the queue and estimates to jobs, in a few queries for all."""
    stages: defaultdict[uuid.UUID, list[StageRun]] = defaultdict(list)
    for run in session.scalars(select(StageRun).where(StageRun.job_id.in_([job.id for job in jobs]))):
        stages[run.job_id].append(run)
    places = fetch_places(session, [job.id for job in jobs if not job.state.is_terminal])
    estimates = fetch_estimates(session, stages, places)
    return [
        JobRecord(job, stages[job.id], None if place is None else place.in_queue, estimates.get(job.id))
        for job, place in ((job, places.get(job.id)) for job in jobs)
    ]


def fetch_ended(session: Session, job_ids: Collection[uuid.UUID]) -> set[uuid.UUID]:
    """Return which of the jobs have ended, or are gone."""
    open_ids = session.scalars(select(Job.id).where(Job.id.in_(job_ids), Job.finished_at.is_(None)))
    return set(job_ids) - set(open_ids)
