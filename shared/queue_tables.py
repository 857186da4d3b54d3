"""The tables of the queue, and the indexes that keep its look-ups as quick with a million jobs as with none.

Every index that work is found by is partial: it holds what is open, so its size follows the queue and not the history.
"""

from __future__ import annotations

import uuid
from datetime import datetime

from sqlalchemy import BigInteger, Index, func, text
from sqlalchemy.orm import Mapped, mapped_column

from shared.stages import StageName
from shared.states import JobState
from shared.tables import Base, DeadLetter, IdempotencyKey, Job, Outbox, StageRun


class QueueMark(Base):
    """One of every thousand open jobs, with its place among those of its state when it was marked.

    A job's own place is counted from the mark before it.
    """

    __tablename__ = "queue_marks"

    state: Mapped[JobState] = mapped_column(primary_key=True)
    place: Mapped[int] = mapped_column(primary_key=True)
    turn_at: Mapped[datetime]
    job_id: Mapped[uuid.UUID]
    marked_at: Mapped[datetime] = mapped_column(server_default=func.now())


class TenantUsage(Base):
    """How many bytes the artefacts of a tenant took when they were last added up."""

    __tablename__ = "tenant_usage"

    tenant: Mapped[str] = mapped_column(primary_key=True)
    stored_bytes: Mapped[int] = mapped_column(BigInteger)
    measured_at: Mapped[datetime] = mapped_column(server_default=func.now())


_OPEN = text("finished_at IS NULL")
_READY = text("state = 'ready'")

SEARCHED = (
    Index("ix_jobs_open_turn", Job.state, Job.turn_at, Job.id, postgresql_where=_OPEN),
    Index("ix_jobs_open_tenant", Job.tenant, postgresql_where=_OPEN),
    Index("ix_jobs_tenant_created_at_id", Job.tenant, Job.created_at, Job.id),
    Index("ix_jobs_tenant_state_created_at_id", Job.tenant, Job.state, Job.created_at, Job.id),
    Index("ix_stage_runs_look_again", StageRun.look_again_at, postgresql_where=_READY),
    Index(
        "ix_stage_runs_study_uid",
        StageRun.facts["study_uid"].astext,
        postgresql_where=text(f"stage = '{StageName.INTAKE}'"),
    ),
    Index("ix_outbox_stage_turn_at_id", Outbox.stage, Outbox.turn_at, Outbox.id),
    Index("ix_outbox_job_id_stage", Outbox.job_id, Outbox.stage),
    Index("ix_dead_letters_job_id", DeadLetter.job_id),
    Index("ix_idempotency_keys_job_id", IdempotencyKey.job_id, postgresql_where=text("job_id IS NOT NULL")),
    Index("ix_idempotency_keys_created_at", IdempotencyKey.created_at),
)
"""What the queue, lists of jobs, the relay, the reaper and erasures find their rows by."""
