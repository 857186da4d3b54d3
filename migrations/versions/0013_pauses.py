"""Models that the operator has paused."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply. No model is paused at first."""
    op.create_table(
        "pauses",
        sa.Column("stage", sa.String(40), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("paused_by", sa.Text(), nullable=False),
        sa.Column("paused_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        sa.PrimaryKeyConstraint("stage", name="pk_pauses"),
    )


def downgrade() -> None:
    """Undo. Jobs from here on run what was paused."""
    op.drop_table("pauses")
