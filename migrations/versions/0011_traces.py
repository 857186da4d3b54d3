"""The trace that jobs, stages, messages and deliveries belong to."""

from __future__ import annotations

from alembic import op

from migrations.steps import change_at_work

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

_TABLES = ("jobs", "stage_runs", "outbox", "webhook_deliveries")


def upgrade() -> None:
    """Apply. What was written before belongs to no trace."""
    change_at_work(*(f"ALTER TABLE {table} ADD COLUMN IF NOT EXISTS traceparent text" for table in _TABLES))


def downgrade() -> None:
    """Undo. Which trace a row belonged to is lost."""
    for table in _TABLES:
        op.drop_column(table, "traceparent")
