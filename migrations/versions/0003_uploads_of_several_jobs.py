"""An upload may belong to several jobs: each of them names its object in a row of its own."""

from __future__ import annotations

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.drop_constraint("uq_artefacts_key", "artefacts", type_="unique")
    op.create_index("ix_artefacts_key", "artefacts", ["key"], unique=False)


def downgrade() -> None:
    """Undo. Fails while an object belongs to several jobs."""
    op.drop_index("ix_artefacts_key", table_name="artefacts")
    op.create_unique_constraint("uq_artefacts_key", "artefacts", ["key"])
