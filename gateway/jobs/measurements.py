"""Rows that estimates are made from: the latest results, and where the open jobs stand."""

from __future__ import annotations

import math
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from weakref import WeakKeyDictionary

from sqlalchemy import Engine, Select, func, select, text
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


_PLACES = text(
    """
    SELECT asked.id, asked.state, coalesce(mark.place, 0) + since.jobs AS before
    FROM jobs AS asked
    LEFT JOIN LATERAL (
        SELECT place, turn_at, job_id FROM queue_marks
        WHERE state = asked.state AND (turn_at, job_id) < (asked.turn_at, asked.id) AND marked_at > now() - :fresh
        ORDER BY turn_at DESC, job_id DESC LIMIT 1
    ) AS mark ON true
    CROSS JOIN LATERAL (
        SELECT count(*) AS jobs FROM jobs
        WHERE finished_at IS NULL AND state = asked.state AND (turn_at, id) < (asked.turn_at, asked.id)
        AND (turn_at, id) > (coalesce(mark.turn_at, '-infinity'), coalesce(mark.job_id, CAST(:no_id AS uuid)))
    ) AS since
    WHERE asked.finished_at IS NULL AND asked.id = ANY(CAST(:job_ids AS uuid[]))
    """
)
_RUNNING = text(
    """
    SELECT coalesce(mark.place, 0) + since.jobs
    FROM (SELECT 1) AS one
    LEFT JOIN (
        SELECT place, turn_at, job_id FROM queue_marks
        WHERE state = 'running' AND marked_at > now() - :fresh ORDER BY place DESC LIMIT 1
    ) AS mark ON true
    CROSS JOIN LATERAL (
        SELECT count(*) AS jobs FROM jobs WHERE finished_at IS NULL AND state = 'running'
        AND (turn_at, id) > (coalesce(mark.turn_at, '-infinity'), coalesce(mark.job_id, CAST(:no_id AS uuid)))
    ) AS since
    """
)
# Control marks the queue every few seconds; while it does not run, places are counted out.
_MARKS = {"fresh": timedelta(minutes=1), "no_id": str(uuid.UUID(int=0))}

KEPT_FOR_S = 1.0
"""How old the samples may be: read whenever somebody looked at an open job, they took a sixth of the gateway's time."""

_kept: WeakKeyDictionary[Engine, tuple[float, Sequence[Sample]]] = WeakKeyDictionary()


def fetch_places(session: Session, job_ids: Sequence[uuid.UUID]) -> Mapping[uuid.UUID, Place]:
    """Return the places of open jobs among those of every tenant: who runs first, and then by their turns.

    Behind the first thousand a place is counted from the last mark, and so is as old as the marks are.
    """
    if not job_ids:
        return {}
    rows = session.execute(_PLACES, {**_MARKS, "job_ids": [str(job_id) for job_id in job_ids]}).all()
    is_any_queued = any(row.state == JobState.QUEUED for row in rows)
    running = int(session.scalar(_RUNNING, _MARKS) or 0) if is_any_queued else 0
    return {row.id: _describe_place(row.state == JobState.QUEUED, int(row.before), running) for row in rows}


def _describe_place(is_queued: bool, before: int, running: int) -> Place:
    return Place(before + 1, running + before) if is_queued else Place(None, before)


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


def fetch_samples(session: Session) -> Sequence[Sample]:
    """Return the latest jobs that ended with a result, without those that another job answered a stage of.

    As they were within the last second.
    """
    engine = session.get_bind().engine
    looked_at, samples = _kept.get(engine, (-math.inf, []))
    if time.monotonic() - looked_at > KEPT_FOR_S:
        looked_at, samples = time.monotonic(), _read_samples(session)
        _kept[engine] = looked_at, samples
    return samples


def _read_samples(session: Session) -> list[Sample]:
    return [
        Sample(frozenset(map(StageName, models or ())), created_at, begun_at, read_at, ended_at)
        for created_at, begun_at, read_at, ended_at, models in session.execute(_select_latest_results())
        if begun_at is not None and read_at is not None
    ]


def _select_latest_results() -> Select[datetime, datetime | None, datetime | None, datetime, list[str]]:
    latest = (
        select(StageRun.job_id, StageRun.finished_at)
        .where(StageRun.stage == StageName.FUSION, StageRun.state == StageState.SUCCEEDED)
        .order_by(StageRun.finished_at.desc())
        .limit(_MOST_SAMPLES)
        .subquery()
    )
    intake, model = aliased(StageRun), aliased(StageRun)
    ran = func.array_agg(model.stage).filter(model.state.not_in(_NO_RUN))
    return (
        select(Job.created_at, intake.started_at, intake.finished_at, latest.c.finished_at.label("ended_at"), ran)
        .join_from(latest, Job, Job.id == latest.c.job_id)
        .join(intake, (intake.job_id == Job.id) & (intake.stage == StageName.INTAKE))
        .join(model, (model.job_id == Job.id) & model.stage.in_(MODELS))
        .group_by(Job.created_at, intake.started_at, intake.finished_at, latest.c.finished_at, Job.id)
        .having(func.bool_and(model.reused_from.is_(None)))
    )
