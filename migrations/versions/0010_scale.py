"""The queue's order, its marks and indexes, and settings of vacuum for tables that change all the time.

Runs while the platform works: columns are added with constants for defaults, which rewrites nothing, and indexes are
built beside the work that goes on. Nothing that an older version reads or writes is taken away.
"""

from __future__ import annotations

from collections.abc import Iterable

import sqlalchemy as sa
from alembic import op

from migrations.steps import build_index, change_at_work

revision = "0010"
down_revision = "0008"
branch_labels = None
depends_on = None

_TIME = sa.DateTime(timezone=True)
_OPEN = "finished_at IS NULL"

_INDEXES = {
    "ix_jobs_open_turn": f"jobs (state, turn_at, id) WHERE {_OPEN}",
    "ix_jobs_open_tenant": f"jobs (tenant) WHERE {_OPEN}",
    "ix_jobs_tenant_created_at_id": "jobs (tenant, created_at, id)",
    "ix_jobs_tenant_state_created_at_id": "jobs (tenant, state, created_at, id)",
    "ix_stage_runs_look_again": "stage_runs (look_again_at) WHERE state = 'ready'",
    "ix_stage_runs_study_uid": "stage_runs ((facts ->> 'study_uid')) WHERE stage = 'intake'",
    "ix_outbox_stage_turn_at_id": "outbox (stage, turn_at, id)",
    "ix_outbox_job_id_stage": "outbox (job_id, stage)",
    "ix_dead_letters_job_id": "dead_letters (job_id)",
    "ix_idempotency_keys_job_id": "idempotency_keys (job_id) WHERE job_id IS NOT NULL",
    "ix_idempotency_keys_created_at": "idempotency_keys (created_at)",
}
_REPLACED = "ix_jobs_tenant_created_at"

# A queue turns over many times its size in an hour; the default waits for a fifth of a table to be dead.
_OFTEN = "autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 1000"
_GROWING = "autovacuum_vacuum_insert_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.02"
_STORAGE = {
    "outbox": "autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000, "
    "autovacuum_vacuum_cost_delay = 0",
    "jobs": f"{_OFTEN}, {_GROWING}, fillfactor = 85",
    "stage_runs": f"{_OFTEN}, {_GROWING}, fillfactor = 85",
    "artefacts": f"{_OFTEN}, {_GROWING}",
    "events": _GROWING,
    "features": _GROWING,
    "results": _GROWING,
}


def upgrade() -> None:
    """Apply."""
    turn = "ADD COLUMN IF NOT EXISTS turn_at timestamptz DEFAULT now() NOT NULL"
    change_at_work(
        f"ALTER TABLE jobs {turn}",
        f"ALTER TABLE outbox {turn}",
        "ALTER TABLE stage_runs ADD COLUMN IF NOT EXISTS look_again_at timestamptz",
        *(f"ALTER TABLE {table} SET ({options})" for table, options in _STORAGE.items()),
        *(build_index(name, definition) for name, definition in _INDEXES.items()),
        f"DROP INDEX CONCURRENTLY IF EXISTS {_REPLACED}",
        # Jobs that are open now get the turns that a new one would have had; a step of priority is half an hour.
        "UPDATE jobs SET turn_at = created_at - priority * interval '30 minutes' WHERE finished_at IS NULL",
        "UPDATE outbox SET turn_at = jobs.turn_at FROM jobs WHERE jobs.id = outbox.job_id",
    )
    _create_tables()


def downgrade() -> None:
    """Undo. Open jobs are ordered by their priority and age again."""
    op.create_index(_REPLACED, "jobs", ["tenant", "created_at"])
    for name in _INDEXES:
        op.drop_index(name)
    for table, options in _STORAGE.items():
        op.execute(f"ALTER TABLE {table} RESET ({', '.join(_list_names(options))})")
    op.drop_table("tenant_usage")
    op.drop_table("queue_marks")
    op.drop_column("stage_runs", "look_again_at")
    op.drop_column("outbox", "turn_at")
    op.drop_column("jobs", "turn_at")


def _list_names(options: str) -> Iterable[str]:
    return (option.partition("=")[0].strip() for option in options.split(","))


def _create_tables() -> None:
    op.create_table(
        "queue_marks",
        sa.Column("state", sa.String(40), nullable=False),
        sa.Column("place", sa.Integer(), nullable=False),
        sa.Column("turn_at", _TIME, nullable=False),
        sa.Column("job_id", sa.Uuid(), nullable=False),
        sa.Column("marked_at", _TIME, server_default=sa.func.now(), nullable=False),
        sa.PrimaryKeyConstraint("state", "place", name="pk_queue_marks"),
    )
    op.create_table(
        "tenant_usage",
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("stored_bytes", sa.BigInteger(), nullable=False),
        sa.Column("measured_at", _TIME, server_default=sa.func.now(), nullable=False),
        sa.PrimaryKeyConstraint("tenant", name="pk_tenant_usage"),
    )
