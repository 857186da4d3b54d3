"""Uploads that come in parts, and indexes for labels and for the times of finished stages."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    _create_uploads()
    op.create_table(
        "upload_parts",
        sa.Column("upload_id", sa.Uuid(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        sa.ForeignKeyConstraint(
            ["upload_id"], ["uploads.id"], name="fk_upload_parts_upload_id_uploads", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("upload_id", "number", name="pk_upload_parts"),
    )
    op.create_index("ix_upload_parts_key", "upload_parts", ["key"])
    op.create_index("ix_jobs_labels", "jobs", ["labels"], postgresql_using="gin")
    op.create_index(
        "ix_stage_runs_succeeded",
        "stage_runs",
        ["stage", "finished_at"],
        postgresql_where=sa.text("state = 'succeeded'"),
    )


def _create_uploads() -> None:
    op.create_table(
        "uploads",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("part_size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("announced_sha256", sa.Text(), nullable=True),
        sa.Column("kind", sa.Text(), nullable=True),
        sa.Column("media_type", sa.Text(), nullable=True),
        sa.Column("key", sa.Text(), nullable=True),
        sa.Column("sha256", sa.Text(), nullable=True),
        sa.Column("assembly_token", sa.Uuid(), nullable=True),
        sa.Column("assembly_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("job_id", sa.Uuid(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name="fk_uploads_job_id_jobs", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name="pk_uploads"),
    )
    for column in ("key", "job_id", "expires_at"):
        op.create_index(f"ix_uploads_{column}", "uploads", [column])
    op.create_index("ix_uploads_tenant_created_at", "uploads", ["tenant", "created_at"])


def downgrade() -> None:
    """Undo. Objects of uploads that are no job yet are orphans then, which the sweep removes."""
    op.drop_index("ix_stage_runs_succeeded", table_name="stage_runs")
    op.drop_index("ix_jobs_labels", table_name="jobs")
    op.drop_table("upload_parts")
    op.drop_table("uploads")
