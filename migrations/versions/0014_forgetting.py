"""The index by which messages that ended long ago are found."""

from __future__ import annotations

from alembic import op

from migrations.steps import build_index, change_at_work

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

_INDEX = "ix_webhook_deliveries_finished_at"


def upgrade() -> None:
    """Apply."""
    change_at_work(build_index(_INDEX, "webhook_deliveries (finished_at) WHERE finished_at IS NOT NULL"))


def downgrade() -> None:
    """Undo."""
    op.drop_index(_INDEX)
