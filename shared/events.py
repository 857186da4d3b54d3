"""Events of a job, written in the transaction of what they tell. Their ids are the order that callers see.

Whoever writes one holds the row of the job (`shared.endings.lock_open_job`). So the ids of a job's events are in the
order of their commits, and who has read up to an id has missed none before it.
"""

from __future__ import annotations

import uuid
from enum import StrEnum

from sqlalchemy.orm import Session

from shared.artefacts import ArtefactKind
from shared.json_values import JsonObject
from shared.stages import StageName
from shared.states import JobState, StageState
from shared.tables import Event


class EventType(StrEnum):
    """What an event tells."""

    JOB_STATE = "job.state"
    STAGE_STATE = "stage.state"
    STAGE_PROGRESS = "stage.progress"
    ARTEFACT_REMOVED = "artefact.removed"
    SELF_CHECK = "self_check"


def record_job_state(session: Session, job_id: uuid.UUID, state: JobState) -> None:
    """Tell that a job changed its state."""
    session.add(Event(job_id=job_id, type=EventType.JOB_STATE, state=state))


def record_stage_state(
    session: Session, job_id: uuid.UUID, stage: StageName, state: StageState, facts: JsonObject | None = None
) -> None:
    """Tell that a stage changed its state."""
    event = Event(job_id=job_id, type=EventType.STAGE_STATE, stage=stage, state=state, facts=dict(facts or {}))
    session.add(event)


def record_stage_progress(session: Session, job_id: uuid.UUID, stage: StageName, progress: float) -> None:
    """Tell how far a running stage is, 0..1."""
    session.add(Event(job_id=job_id, type=EventType.STAGE_PROGRESS, stage=stage, progress=progress))


def record_artefact_removed(session: Session, job_id: uuid.UUID, kind: ArtefactKind) -> None:
    """Tell that an artefact was kept as long as the settings say, and is gone."""
    session.add(Event(job_id=job_id, type=EventType.ARTEFACT_REMOVED, facts={"kind": kind, "reason": "retention"}))
