"""Self-checks in the tables: when one is due, what it said, and what the first of the same weights said."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from datetime import timedelta

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from shared.acceptance import NewJob, StoredUpload, add_job
from shared.artefacts import UploadKind
from shared.events import EventType
from shared.self_check import SELF_CHECK_TENANT, SelfCheckState
from shared.settings import Settings
from shared.stages import STAGES, WEIGHTED_STAGES, SkipReason
from shared.states import StageState
from shared.storage import StoredObject
from shared.tables import Document, Event, Feature, Job, ModelVersion, Policy, Result, StageRun
from workers.self_check.judging import PROBABILITY, CheckedRun

_LOCK = 0x6374_7363  # "ctsc"; any constant that nothing else locks on
_MOST_EARLIER = 400


def is_due(session: Session, interval: timedelta) -> bool:
    """Whether a platform that is older than the interval has had no self-check within it."""
    since = func.now() - interval
    latest = select(func.max(Job.created_at)).where(Job.tenant == SELF_CHECK_TENANT)
    installed_at = select(func.min(Policy.created_at))
    begun = func.coalesce(latest.scalar_subquery(), installed_at.scalar_subquery())
    return bool(session.scalar(select(begun < since)))


def submit(
    session: Session, settings: Settings, stored: StoredObject, *, interval: timedelta | None
) -> uuid.UUID | None:
    """Make the job of a stored study; None where another control has just done so, or there is no policy yet.

    Without an interval it is made in any case.
    """
    session.execute(select(func.pg_advisory_xact_lock(_LOCK)))
    policy_id = session.scalar(select(Policy.id).where(Policy.name == settings.policy, Policy.is_active))
    if policy_id is None or (interval is not None and not is_due(session, interval)):
        return None
    new = NewJob(
        id=uuid.uuid4(),
        tenant=SELF_CHECK_TENANT,
        priority=5,
        options={"reuse": False},  # what is checked must be run
        policy_id=policy_id,
        weights_profile=settings.weights_profile,
        time_limit=settings.job_time_limit,
        upload=StoredUpload(stored, UploadKind.ZIP, "application/zip"),
    )
    return add_job(session, new).id


def list_unjudged(session: Session) -> list[Job]:
    """Return the ended self-checks that nobody has judged, locked against other judges."""
    judged = select(Event.job_id).where(Event.job_id == Job.id, Event.type == EventType.SELF_CHECK)
    query = (
        select(Job)
        .where(Job.tenant == SELF_CHECK_TENANT, Job.finished_at.is_not(None), ~judged.exists())
        .order_by(Job.created_at)
        .with_for_update(skip_locked=True)
    )
    return list(session.scalars(query))


def read_run(session: Session, job_id: uuid.UUID) -> CheckedRun | None:
    """Return what a self-check said; None where it ended without a result."""
    result = session.get(Result, job_id)
    if result is None:
        return None
    rows = session.scalars(select(Feature.values).where(Feature.job_id == job_id))
    answered = (StageRun.job_id == job_id, StageRun.state == StageState.SUCCEEDED)
    facts = session.execute(select(StageRun.stage, StageRun.facts["digest"]).where(*answered)).all()
    numbers = {name: value for values in rows for name, value in values.items() if value is not None}
    return CheckedRun(
        weights={str(stage): digest for stage, digest in facts if digest is not None},
        policy_id=result.policy_id,
        numbers={**numbers, PROBABILITY: result.probability},
    )


def find_expected(session: Session, job: Job, run: CheckedRun) -> CheckedRun | None:
    """Return what the first self-check of the same weights and policy said; None where this is the first.

    Of very many, the first among the latest; never one that failed, or a lasting fault would become what is expected.
    """
    failed = select(Event.job_id).where(
        Event.job_id == Job.id, Event.type == EventType.SELF_CHECK, Event.state == SelfCheckState.FAILED
    )
    earlier = select(Job.id).where(Job.tenant == SELF_CHECK_TENANT, Job.created_at < job.created_at, ~failed.exists())
    latest = session.scalars(earlier.order_by(Job.created_at.desc()).limit(_MOST_EARLIER)).all()
    for job_id in reversed(latest):
        found = read_run(session, job_id)
        if found is not None and (found.weights, found.policy_id) == (run.weights, run.policy_id):
            return found
    return None


def list_expected_stages(session: Session, job_id: uuid.UUID) -> list[str]:
    """Return the stages that must succeed in a self-check: what is installed and was not paused when it ran.

    Those that need another stage must only together with that one.
    """
    paused = select(StageRun.stage).where(StageRun.job_id == job_id, StageRun.reason == SkipReason.MODEL_PAUSED)
    active = set(session.scalars(select(ModelVersion.stage).where(ModelVersion.is_active)))
    expected = active - set(session.scalars(paused))
    lacking = set(WEIGHTED_STAGES) - expected
    return [str(stage) for stage in expected if not lacking & set(STAGES[stage].needs)]


def record_outcome(session: Session, job_id: uuid.UUID, state: SelfCheckState, facts: Mapping[str, object]) -> None:
    """Keep how a self-check ended, as an event of its job."""
    told: Document = dict(facts)
    session.add(Event(job_id=job_id, type=EventType.SELF_CHECK, state=state, facts=told))
