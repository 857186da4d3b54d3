"""The trace that jobs, stages, messages and deliveries belong to."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

_TABLES = ("jobs", "stage_runs", "outbox", "webhook_deliveries")


def upgrade() -> None:
    """Apply. What was written before belongs to no trace."""
    for table in _TABLES:
        op.add_column(table, sa.Column("traceparent", sa.Text(), nullable=True))


def downgrade() -> None:
    """Undo. Which trace a row belonged to is lost."""
    for table in _TABLES:
        op.drop_column(table, "traceparent")
