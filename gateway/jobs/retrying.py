"""Retrying: a failed job goes on from where it failed, under its own id, with fresh budgets and a fresh deadline.

What has succeeded is kept with its features and artefacts; what failed or was cancelled with the job waits anew, and
its dead letters are gone. It is the one way in which an ended job changes, and only a job that we failed has it.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from gateway.jobs.errors import JobCannotBeRetried
from gateway.jobs.repository import complete_records, lock_job
from gateway.jobs.schemas import JobBody, describe_job
from gateway.tenants import Tenant
from shared.artefacts import ArtefactKind
from shared.events import record_job_state, record_stage_state
from shared.outbox import publish_stages
from shared.settings import Settings
from shared.stages import SkipReason, StageName, Transition, compute_transitions
from shared.states import JobState, StageState
from shared.tables import Artefact, DeadLetter, Job, StageRun
from shared.webhooks import is_anybody_told

_NOT_FAILED, _STUDY_REMOVED = "not_failed", "study_removed"


def retry_job(session: Session, settings: Settings, tenant: Tenant, job_id: uuid.UUID) -> JobBody:
    """Make a failed job go on and return it. Raises JobNotFound, JobErased or JobCannotBeRetried."""
    job = lock_job(session, tenant, job_id)
    if job.state is not JobState.FAILED:
        raise JobCannotBeRetried(job.state, _NOT_FAILED)
    runs = session.scalars(select(StageRun).where(StageRun.job_id == job_id)).all()
    reopened = [run for run in runs if _is_to_run_again(run)]
    _require_study(session, job, reopened)
    _reopen_job(session, job, settings)
    session.execute(delete(DeadLetter).where(DeadLetter.job_id == job_id))
    _reopen_stages(session, job, runs, reopened)
    session.flush()
    session.refresh(job)
    return describe_job(complete_records(session, [job])[0])


def _is_to_run_again(run: StageRun) -> bool:
    if run.stage is StageName.DELIVERY:
        return False
    is_behind = run.state is StageState.SKIPPED and run.reason == SkipReason.NEEDED_STAGE_MISSING
    return is_behind or run.state in {StageState.FAILED, StageState.CANCELLED}


def _require_study(session: Session, job: Job, reopened: Sequence[StageRun]) -> None:
    """Check that retention has left what the stages read: the upload for intake, the volume for all others."""
    reads_upload = any(run.stage is StageName.INTAKE for run in reopened)
    kind = ArtefactKind.UPLOAD if reads_upload else ArtefactKind.VOLUME
    if session.scalar(select(Artefact.id).where(Artefact.job_id == job.id, Artefact.kind == kind)) is None:
        raise JobCannotBeRetried(job.state, _STUDY_REMOVED)


def _reopen_job(session: Session, job: Job, settings: Settings) -> None:
    job.state = JobState.QUEUED
    job.problem = job.finished_at = None
    job.deadline_at = func.now() + settings.job_time_limit
    record_job_state(session, job.id, JobState.QUEUED)


def _reopen_stages(session: Session, job: Job, runs: Sequence[StageRun], reopened: Sequence[StageRun]) -> None:
    for run in reopened:
        _reset(run)
    if is_anybody_told(session, job.tenant, job.options):
        _reset(next(run for run in runs if run.stage is StageName.DELIVERY))  # the new end is told too
    by_name = {run.stage: run for run in runs}
    transitions = compute_transitions({run.stage: run.state for run in runs})
    for transition in transitions:
        _apply(session, by_name[transition.stage], transition)
    session.flush()
    ready = [transition.stage for transition in transitions if transition.state is StageState.READY]
    publish_stages(session, job.id, ready, priority=job.priority)


def _reset(run: StageRun) -> None:
    run.state = StageState.WAITING
    run.progress = run.transient_faults = run.defects = run.lost_workers = run.publications = 0
    run.warnings, run.facts = [], {}
    run.reason = run.problem = run.avoid_worker = run.leased_by = None
    run.lease_token = run.lease_expires_at = None
    run.next_attempt_at = run.published_at = run.look_again_at = run.deadline_at = None
    run.ready_at = run.started_at = run.finished_at = None


def _apply(session: Session, run: StageRun, transition: Transition) -> None:
    run.state, run.reason = transition.state, transition.reason
    if transition.state is StageState.READY:
        run.ready_at = run.next_attempt_at = func.now()
    else:
        run.finished_at = func.now()
    facts = {"reason": transition.reason} if transition.reason else {}
    record_stage_state(session, run.job_id, run.stage, transition.state, facts)
