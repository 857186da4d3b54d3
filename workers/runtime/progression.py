"""How a job moves on when one of its stages has ended. Runs inside the transaction that ends the stage."""

from __future__ import annotations

import uuid
from collections.abc import Mapping

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from shared.endings import end_job
from shared.events import record_stage_state
from shared.json_values import JsonObject
from shared.metrics import RESULT_MODELS
from shared.outbox import publish_stages
from shared.pauses import fetch_paused
from shared.stages import MODELS, SkipReason, StageName, Transition, compute_transitions
from shared.states import JobState, StageState
from shared.tables import Job, StageRun
from workers.reuse import EarlierAnswers
from workers.runtime.stage import ANSWERED


def advance_job(session: Session, job: Job, earlier: EarlierAnswers | None = None) -> None:
    """Make the stages ready that now can run, skip those that never will, and end the job after its last stage.

    A stage that an `earlier` job answers has ended with that, and moves the job on in its turn.
    """
    ready: list[StageName] = []
    paused = fetch_paused(session)
    while transitions := compute_transitions(states := fetch_stage_states(session, job.id)):
        for found in transitions:
            transition = _withhold(found) if found.stage in paused else found
            is_ready = transition.state is StageState.READY
            if is_ready and earlier is not None and earlier.answer(session, job, transition.stage):
                continue
            _apply(session, job.id, transition)
            ready += [transition.stage] if is_ready else []
    publish_stages(session, job.id, ready, priority=job.priority)
    is_fused = states[StageName.FUSION] is StageState.SUCCEEDED
    ending = judge_ending(states, _fetch_answered(session, job.id) if is_fused else None)
    if ending is not None:
        end_job(session, job, ending)
        _count_models(states)


def _withhold(transition: Transition) -> Transition:
    """Return what becomes of a paused stage that could run now: nothing waits for it."""
    is_ready = transition.state is StageState.READY
    return Transition(transition.stage, StageState.SKIPPED, SkipReason.MODEL_PAUSED) if is_ready else transition


def judge_ending(states: Mapping[StageName, StageState], answered: int | None = None) -> JobState | None:
    """Return how the job ends now, or None while it goes on. A job without fusion only validates: intake ends it.

    `answered`: how many models the fusion weighed, where it told. One that succeeded may have said nothing to weigh.
    """
    if states[StageName.FUSION] is StageState.SUCCEEDED:
        succeeded = sum(states[model] is StageState.SUCCEEDED for model in MODELS)
        has_all = (succeeded if answered is None else answered) == len(MODELS)
        return JobState.COMPLETED if has_all else JobState.COMPLETED_PARTIAL
    is_validation = states[StageName.FUSION] is StageState.SKIPPED
    return JobState.COMPLETED if is_validation and states[StageName.INTAKE] is StageState.SUCCEEDED else None


def _count_models(states: Mapping[StageName, StageState]) -> None:
    """Count which models a result has; a study that was only read has none."""
    if states[StageName.FUSION] is StageState.SUCCEEDED:
        for model in MODELS:
            RESULT_MODELS.labels(model=model, state=states[model]).inc()


def fetch_stage_states(session: Session, job_id: uuid.UUID) -> Mapping[StageName, StageState]:
    """Return the state of every stage of a job."""
    session.flush()
    rows = session.execute(select(StageRun.stage, StageRun.state).where(StageRun.job_id == job_id))
    return {stage: state for stage, state in rows}  # noqa: C416  # rows are not plain tuples to mypy


def _fetch_answered(session: Session, job_id: uuid.UUID) -> int | None:
    facts = session.scalar(select(StageRun.facts).where(StageRun.job_id == job_id, StageRun.stage == StageName.FUSION))
    answered: int | None = (facts or {}).get(ANSWERED)
    return answered


def _apply(session: Session, job_id: uuid.UUID, transition: Transition) -> None:
    values: dict[str, object] = {"state": transition.state, "reason": transition.reason}
    if transition.state is StageState.READY:
        values |= {"ready_at": func.now(), "next_attempt_at": func.now()}
    else:
        values |= {"finished_at": func.now()}
    session.execute(
        update(StageRun).where(StageRun.job_id == job_id, StageRun.stage == transition.stage).values(**values)
    )
    facts: JsonObject = {"reason": transition.reason} if transition.reason else {}
    record_stage_state(session, job_id, transition.stage, transition.state, facts)
