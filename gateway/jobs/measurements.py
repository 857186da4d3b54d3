"""Rows that estimates are made from: the latest results, and where the open jobs stand."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.orm import Session, aliased

from gateway.jobs.estimates import Estimate, Sample, Standing, estimate
from shared.stages import MODELS, StageName
from shared.states import JobState, StageState
from shared.tables import Job, StageRun

_MOST_SAMPLES = 100
_NO_RUN = frozenset({StageState.SKIPPED, StageState.CANCELLED})


@dataclass(frozen=True)
class Place:
    """Where an open job stands among all. `in_queue` is 1 for the next, and None once the job runs."""

    in_queue: int | None
    ahead: int


def fetch_places(session: Session, job_ids: Sequence[uuid.UUID]) -> Mapping[uuid.UUID, Place]:
    """Return the places of open jobs among those of every tenant: the urgent first, then the older."""
    if not job_ids:
        return {}
    order = (Job.priority.desc(), Job.created_at, Job.id)
    among_all = func.row_number().over(order_by=((Job.state == JobState.QUEUED), *order)).label("among_all")
    in_state = func.row_number().over(partition_by=Job.state, order_by=order).label("in_state")
    # `finished_at IS NULL` lets the partial index of open jobs serve.
    places = select(Job.id, Job.state, among_all, in_state).where(Job.finished_at.is_(None)).subquery()
    rows = session.execute(select(places).where(places.c.id.in_(job_ids)))
    return {
        row.id: Place(int(row.in_state) if row.state is JobState.QUEUED else None, int(row.among_all) - 1)
        for row in rows
    }


def fetch_estimates(
    session: Session, stages: Mapping[uuid.UUID, Sequence[StageRun]], places: Mapping[uuid.UUID, Place]
) -> Mapping[uuid.UUID, Estimate | None]:
    """Return when each open job may end."""
    if not places:
        return {}
    samples = fetch_samples(session)
    now = session.execute(select(func.clock_timestamp())).scalar_one()
    found: dict[uuid.UUID, Estimate | None] = {}
    for job_id, place in places.items():
        runs = {run.stage: run for run in stages[job_id]}
        intake = runs[StageName.INTAKE]
        models = frozenset(stage for stage in MODELS if runs[stage].state not in _NO_RUN)
        standing = Standing(models, intake.started_at, intake.finished_at, place.ahead, now)
        is_answered = runs[StageName.FUSION].state is not StageState.SKIPPED
        found[job_id] = estimate(samples, standing) if is_answered else None
    return found


def fetch_samples(session: Session) -> list[Sample]:
    """Return the latest jobs that ended with a result, without those that another job answered a stage of."""
    latest = (
        select(StageRun.job_id, StageRun.finished_at)
        .where(StageRun.stage == StageName.FUSION, StageRun.state == StageState.SUCCEEDED)
        .order_by(StageRun.finished_at.desc())
        .limit(_MOST_SAMPLES)
        .subquery()
    )
    intake, model = aliased(StageRun), aliased(StageRun)
    ran = func.array_agg(model.stage).filter(model.state.not_in(_NO_RUN))
    query = (
        select(Job.created_at, intake.started_at, intake.finished_at, latest.c.finished_at.label("ended_at"), ran)
        .join_from(latest, Job, Job.id == latest.c.job_id)
        .join(intake, (intake.job_id == Job.id) & (intake.stage == StageName.INTAKE))
        .join(model, (model.job_id == Job.id) & model.stage.in_(MODELS))
        .group_by(Job.created_at, intake.started_at, intake.finished_at, latest.c.finished_at, Job.id)
        .having(func.bool_and(model.reused_from.is_(None)))
    )
    return [
        Sample(frozenset(map(StageName, models or ())), created_at, begun_at, read_at, ended_at)
        for created_at, begun_at, read_at, ended_at, models in session.execute(query)
        if begun_at is not None and read_at is not None
    ]
