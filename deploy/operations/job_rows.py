"""What the operator's commands read of jobs: of all tenants, and nothing of a patient."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, Select, exists, func, select
from sqlalchemy.orm import Session

from shared.stages import StageName
from shared.states import JobState, StageState
from shared.tables import Artefact, DeadLetter, Event, Job, StageRun, WebhookDelivery

Query = TypeVar("Query", bound=Select[*tuple[Any, ...]])

_MOVING = (StageState.READY, StageState.LEASED)
_NEWEST_EVENTS = 20


@dataclass(frozen=True)
class JobFilter:
    """Which jobs are meant. An empty part leaves nothing out; `stage`: one that waits, runs or failed in it."""

    states: Collection[JobState] = ()
    tenant: str | None = None
    stage: StageName | None = None
    older_than: timedelta | None = None
    newer_than: timedelta | None = None


@dataclass(frozen=True)
class JobRow:
    """A job in one line. `stages` are those that wait for a worker or run; `age` is that of its submission."""

    id: uuid.UUID
    tenant: str
    state: JobState
    priority: int
    age: timedelta
    seconds: float | None
    stages: Sequence[StageName]
    problem: str | None


@dataclass(frozen=True)
class JobView:
    """Everything that an operator may want to know of one job."""

    job: Job
    now: datetime
    stages: Sequence[StageRun]
    events: Sequence[Event]
    dead_letters: Sequence[DeadLetter]
    deliveries: Sequence[WebhookDelivery]
    objects: int
    bytes: int


def fetch_jobs(session: Session, wanted: JobFilter, limit: int) -> list[JobRow]:
    """Return jobs, newest first."""
    query = _filter(select(Job, func.now().label("now")), wanted)
    rows = session.execute(query.order_by(Job.created_at.desc(), Job.id).limit(limit)).all()
    moving = _fetch_moving(session, [job.id for job, _ in rows])
    return [_describe(job, now, moving.get(job.id, ())) for job, now in rows]


def count_jobs(session: Session, wanted: JobFilter) -> int:
    """Return how many jobs are meant."""
    return session.scalar(_filter(select(func.count()).select_from(Job), wanted)) or 0


def fetch_view(session: Session, job_id: uuid.UUID) -> JobView | None:
    """Return one job with all that belongs to it, or None where there is none."""
    job = session.get(Job, job_id)
    if job is None:
        return None
    newest = select(Event).where(Event.job_id == job_id).order_by(Event.id.desc()).limit(_NEWEST_EVENTS)
    objects, size = session.execute(
        select(func.count(), func.coalesce(func.sum(Artefact.size_bytes), 0)).where(Artefact.job_id == job_id)
    ).one()
    order = list(StageName)
    runs = session.scalars(select(StageRun).where(StageRun.job_id == job_id)).all()
    return JobView(
        job=job,
        now=session.execute(select(func.now())).scalar_one(),
        stages=sorted(runs, key=lambda run: order.index(run.stage)),
        events=list(reversed(session.scalars(newest).all())),
        dead_letters=session.scalars(select(DeadLetter).where(DeadLetter.job_id == job_id)).all(),
        deliveries=session.scalars(select(WebhookDelivery).where(WebhookDelivery.job_id == job_id)).all(),
        objects=objects,
        bytes=int(size),
    )


def _filter(query: Query, wanted: JobFilter) -> Query:
    if wanted.states:
        query = query.where(Job.state.in_(wanted.states))
    if wanted.tenant is not None:
        query = query.where(Job.tenant == wanted.tenant)
    if wanted.older_than is not None:
        query = query.where(Job.created_at < func.now() - wanted.older_than)
    if wanted.newer_than is not None:
        query = query.where(Job.created_at >= func.now() - wanted.newer_than)
    if wanted.stage is not None:
        query = query.where(_is_at(wanted.stage))
    return query


def _is_at(stage: StageName) -> ColumnElement[bool]:
    states = (*_MOVING, StageState.FAILED)
    return exists().where(StageRun.job_id == Job.id, StageRun.stage == stage, StageRun.state.in_(states))


def _fetch_moving(session: Session, job_ids: Sequence[uuid.UUID]) -> dict[uuid.UUID, list[StageName]]:
    found: dict[uuid.UUID, list[StageName]] = {}
    query = select(StageRun.job_id, StageRun.stage).where(StageRun.job_id.in_(job_ids), StageRun.state.in_(_MOVING))
    for job_id, stage in session.execute(query):
        found.setdefault(job_id, []).append(stage)
    return found


def _describe(job: Job, now: datetime, stages: Sequence[StageName]) -> JobRow:
    seconds = None if job.finished_at is None else (job.finished_at - job.created_at).total_seconds()
    problem = None if job.problem is None else str(job.problem.get("code"))
    return JobRow(job.id, job.tenant, job.state, job.priority, now - job.created_at, seconds, sorted(stages), problem)
