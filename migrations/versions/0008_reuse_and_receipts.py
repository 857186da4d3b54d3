"""Stages that an earlier job answered, what makes two runs of a stage alike, and receipts of results."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply. Stages that ran before have no digest of their inputs and answer for no other job."""
    op.add_column("stage_runs", sa.Column("recipe_sha256", sa.Text(), nullable=True))
    op.add_column("stage_runs", sa.Column("reused_from", sa.Uuid(), nullable=True))
    op.create_index(
        "ix_stage_runs_recipe_sha256",
        "stage_runs",
        ["recipe_sha256"],
        unique=False,
        postgresql_where=sa.text("recipe_sha256 IS NOT NULL"),
    )
    op.add_column("results", sa.Column("receipt", postgresql.JSONB(), nullable=True))


def downgrade() -> None:
    """Undo. Receipts are lost with it."""
    op.drop_column("results", "receipt")
    op.drop_index("ix_stage_runs_recipe_sha256", table_name="stage_runs")
    op.drop_column("stage_runs", "reused_from")
    op.drop_column("stage_runs", "recipe_sha256")
