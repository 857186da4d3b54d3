"""Rows of jobs: reading them."""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select, tuple_
from sqlalchemy.orm import Session

from gateway.jobs.errors import JobErased, JobNotFound
from gateway.jobs.schemas import JobRecord
from gateway.tenants import Tenant
from shared.errors import InputProblem
from shared.states import JobState
from shared.tables import Erasure, Job, StageRun


@dataclass(frozen=True)
class PagePosition:
    """The last job of a page; the next page begins after it."""

    created_at: datetime
    job_id: uuid.UUID


@dataclass(frozen=True)
class JobFilters:
    """Which jobs are asked for: of some states (all when none is named), and of one patient."""

    states: Collection[JobState] = ()
    patient: str | None = None


def fetch_job(session: Session, tenant: Tenant, job_id: uuid.UUID) -> Job:
    """Return a job. Raises JobErased, or JobNotFound, for another tenant's too."""
    job = session.scalar(select(Job).where(Job.id == job_id, Job.tenant == tenant))
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
    query = select(Job).where(Job.tenant == tenant)
    if filters.states:
        query = query.where(Job.state.in_(filters.states))
    if filters.patient is not None:
        query = query.where(Job.patient_pseudonym == filters.patient)
    if after is not None:
        query = query.where(tuple_(Job.created_at, Job.id) < (after.created_at, after.job_id))
    jobs = session.scalars(query.order_by(Job.created_at.desc(), Job.id.desc()).limit(limit)).all()
    return complete_records(session, jobs)


def complete_records(session: Session, jobs: Sequence[Job]) -> list[JobRecord]:
    """Add stages and queue positions to jobs, in two queries for all."""
    stages: defaultdict[uuid.UUID, list[StageRun]] = defaultdict(list)
    for run in session.scalars(select(StageRun).where(StageRun.job_id.in_([job.id for job in jobs]))):
        stages[run.job_id].append(run)
    positions = _fetch_queue_positions(session, [job.id for job in jobs if job.state is JobState.QUEUED])
    return [JobRecord(job, stages[job.id], positions.get(job.id)) for job in jobs]


def fetch_ended(session: Session, job_ids: Collection[uuid.UUID]) -> set[uuid.UUID]:
    """Return which of the jobs have ended, or are gone."""
    open_ids = session.scalars(select(Job.id).where(Job.id.in_(job_ids), Job.finished_at.is_(None)))
    return set(job_ids) - set(open_ids)


def _fetch_queue_positions(session: Session, job_ids: Sequence[uuid.UUID]) -> Mapping[uuid.UUID, int]:
    """Return how many queued jobs of any tenant come before each, plus one."""
    if not job_ids:
        return {}
    place = func.row_number().over(order_by=(Job.priority.desc(), Job.created_at, Job.id)).label("place")
    # `finished_at IS NULL` lets the partial index of open jobs serve.
    queue = select(Job.id, place).where(Job.state == JobState.QUEUED, Job.finished_at.is_(None)).subquery()
    rows = session.execute(select(queue.c.id, queue.c.place).where(queue.c.id.in_(job_ids)))
    return {job_id: int(place) for job_id, place in rows}
