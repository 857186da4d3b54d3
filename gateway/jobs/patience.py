"""When to ask again for what a job does not have yet, by what was measured of others like it."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import replace

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from gateway.jobs.estimates import Sample, Standing, estimate
from gateway.jobs.measurements import fetch_estimates, fetch_places, fetch_samples
from shared.tables import StageRun

POLL_AFTER_S = 1
"""When to look again where nothing alike was measured; stages take seconds, and looking is cheap (ETag)."""


def choose_wait_for_end(session: Session, job_id: uuid.UUID) -> int:
    """Return after how many seconds to ask again for what exists once an open job has ended."""
    runs = session.scalars(select(StageRun).where(StageRun.job_id == job_id)).all()
    found = fetch_estimates(session, {job_id: runs}, fetch_places(session, [job_id])).get(job_id)
    return POLL_AFTER_S if found is None else found.poll_after_s


def choose_wait_for_reading(session: Session, intake: StageRun) -> int:
    """Return after how many seconds to ask again for what exists once the upload of an open job was read."""
    place = fetch_places(session, [intake.job_id]).get(intake.job_id)
    now = session.execute(select(func.clock_timestamp())).scalar_one()
    standing = Standing(frozenset(), intake.started_at, None, 0 if place is None else place.ahead, now)
    found = estimate(_look_at_reading(fetch_samples(session)), standing)
    return POLL_AFTER_S if found is None else found.poll_after_s


def _look_at_reading(samples: Sequence[Sample]) -> list[Sample]:
    """Return samples as if each job had ended with its reading, which no model has a part in."""
    return [replace(sample, models=frozenset(), ended_at=sample.read_at) for sample in samples]
