"""Pseudonyms of patients, and what retention needs: its index, and names of files that can be forgotten."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_PSEUDONYM_INDEX = "ix_jobs_tenant_patient_pseudonym"
_RETENTION_INDEX = "ix_artefacts_kind_created_at"


def upgrade() -> None:
    """Apply."""
    op.add_column("jobs", sa.Column("patient_pseudonym", sa.Text(), nullable=True))
    op.create_index(
        _PSEUDONYM_INDEX,
        "jobs",
        ["tenant", "patient_pseudonym", "created_at"],
        postgresql_where=sa.text("patient_pseudonym IS NOT NULL"),
    )
    op.create_index(_RETENTION_INDEX, "artefacts", ["kind", "created_at"])
    op.alter_column("upload_files", "name", nullable=True)


def downgrade() -> None:
    """Undo. Names that were forgotten stay so."""
    op.execute("UPDATE upload_files SET name = '' WHERE name IS NULL")
    op.alter_column("upload_files", "name", nullable=False)
    op.drop_index(_RETENTION_INDEX, "artefacts")
    op.drop_index(_PSEUDONYM_INDEX, "jobs")
    op.drop_column("jobs", "patient_pseudonym")
