"""The features of recent jobs with how their studies were scanned, from the tables; labels are not needed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import timedelta

from sqlalchemy import Engine, func, select

from model_weights.catalogue import ModelEntry, WeightsLocation, find_installed
from model_weights.verifying import read_verified
from shared.database import transaction
from shared.stages import MODELS, StageName
from shared.states import StageState
from shared.tables import Feature, Job, StageRun
from workers.drift.measuring import FeatureDrift, measure_drift
from workers.drift.reference import Reference, ScannedFeatures
from workers.drift.scan import Scan

REFERENCE_ROLE = "reference"

_MOST_JOBS = 5000
"""Newest jobs that are looked at: more tell nothing new and take memory."""


def read_reference(fusion: ModelEntry) -> Reference | None:
    """Return the reference that came with a fusion; None with one that was trained without. Raises Defect."""
    if REFERENCE_ROLE not in fusion.files:
        return None
    return Reference.from_document(json.loads(read_verified(fusion.files[REFERENCE_ROLE])))


def measure_recent(
    engine: Engine, weights: WeightsLocation, period: timedelta, *, left_out: Sequence[str] = ()
) -> list[FeatureDrift] | None:
    """Return the drift of the jobs of a period; None where no fusion with a reference is installed.

    Jobs of the tenants in `left_out` do not count. Raises Defect and TransientFault.
    """
    fusion = find_installed(weights, StageName.FUSION)
    reference = None if fusion is None else read_reference(fusion)
    return None if reference is None else measure_drift(reference, fetch_recent(engine, period, left_out))


def fetch_recent(engine: Engine, period: timedelta, left_out: Sequence[str]) -> list[ScannedFeatures]:
    """Return the features of the jobs that were made within a period, the newest jobs only where there are many."""
    newest = (
        select(Job.id)
        .join(StageRun, (StageRun.job_id == Job.id) & (StageRun.stage == StageName.INTAKE))
        .where(Job.created_at > func.now() - period, Job.tenant.not_in(left_out))
        .where(StageRun.state == StageState.SUCCEEDED)
        .order_by(Job.created_at.desc())
        .limit(_MOST_JOBS)
        .subquery()
    )
    with transaction(engine) as session:
        intakes = session.execute(
            select(StageRun.job_id, StageRun.facts["series"]).where(
                StageRun.stage == StageName.INTAKE, StageRun.job_id.in_(select(newest))
            )
        ).all()
        rows = session.execute(
            select(Feature.job_id, Feature.values).where(Feature.stage.in_(MODELS), Feature.job_id.in_(select(newest)))
        ).all()
    features: dict[object, dict[str, float]] = {job_id: {} for job_id, _ in intakes}
    for job_id, values in rows:
        features.setdefault(job_id, {}).update({name: value for name, value in values.items() if value is not None})
    return [ScannedFeatures(features[job_id], Scan.from_facts(series or {})) for job_id, series in intakes]
