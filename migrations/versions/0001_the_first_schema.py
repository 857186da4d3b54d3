"""The first schema."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

JSONB = postgresql.JSONB()
TIME = sa.DateTime(timezone=True)
NOW = sa.func.now()
EMPTY_OBJECT = sa.text("'{}'::jsonb")

TABLES = (
    "model_versions",
    "policies",
    "jobs",
    "idempotency_keys",
    "stage_runs",
    "outbox",
    "events",
    "dead_letters",
    "features",
    "artefacts",
    "results",
    "upload_files",
    "series_candidates",
)


def upgrade() -> None:
    """Apply."""
    _create_model_versions()
    _create_policies()
    _create_jobs()
    _create_idempotency_keys()
    _create_stage_runs()
    _index_stage_runs()
    _create_outbox()
    _create_events()
    _create_dead_letters()
    _create_features()
    _create_artefacts()
    _create_results()
    _create_upload_files()
    _create_series_candidates()


def downgrade() -> None:
    """Undo."""
    for table in reversed(TABLES):
        op.drop_table(table)


def _create_model_versions() -> None:
    op.create_table(
        "model_versions",
        sa.Column("stage", sa.String(40), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column("weights_profile", sa.Text(), nullable=False),
        sa.Column("is_active", sa.Boolean(), nullable=False),
        sa.Column("facts", JSONB, server_default=EMPTY_OBJECT, nullable=False),
        sa.Column("registered_at", TIME, server_default=NOW, nullable=False),
        sa.PrimaryKeyConstraint("stage", "digest", name="pk_model_versions"),
    )


def _create_policies() -> None:
    op.create_table(
        "policies",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("document", JSONB, nullable=False),
        sa.Column("is_active", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("created_at", TIME, server_default=NOW, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_policies"),
    )
    op.create_index("uq_policies_active_name", "policies", ["name"], unique=True, postgresql_where=sa.text("is_active"))


def _create_jobs() -> None:
    op.create_table(
        "jobs",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("tenant", sa.Text(), server_default="default", nullable=False),
        sa.Column("state", sa.String(40), nullable=False),
        sa.Column("priority", sa.SmallInteger(), server_default="5", nullable=False),
        sa.Column("options", JSONB, server_default=EMPTY_OBJECT, nullable=False),
        sa.Column("labels", JSONB, server_default=EMPTY_OBJECT, nullable=False),
        sa.Column("policy_id", sa.Text(), nullable=False),
        sa.Column("weights_profile", sa.Text(), nullable=False),
        sa.Column("problem", JSONB, nullable=True),
        sa.Column("created_at", TIME, server_default=NOW, nullable=False),
        sa.Column("finished_at", TIME, nullable=True),
        sa.Column("deadline_at", TIME, nullable=False),
        sa.ForeignKeyConstraint(["policy_id"], ["policies.id"], name="fk_jobs_policy_id"),
        sa.PrimaryKeyConstraint("id", name="pk_jobs"),
    )
    op.create_index(
        "ix_jobs_open_deadline", "jobs", ["deadline_at"], unique=False, postgresql_where=sa.text("finished_at IS NULL")
    )
    op.create_index("ix_jobs_tenant_created_at", "jobs", ["tenant", "created_at"], unique=False)


def _create_idempotency_keys() -> None:
    op.create_table(
        "idempotency_keys",
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("reservation", sa.Uuid(), nullable=False),
        sa.Column("reserved_until", TIME, nullable=False),
        sa.Column("payload_sha256", sa.Text(), nullable=True),
        sa.Column("job_id", sa.Uuid(), nullable=True),
        sa.Column("answer", JSONB, nullable=True),
        sa.Column("created_at", TIME, server_default=NOW, nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name="fk_idempotency_keys_job_id", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("tenant", "key", name="pk_idempotency_keys"),
    )


def _create_stage_runs() -> None:
    op.create_table(
        "stage_runs",
        sa.Column("job_id", sa.Uuid(), nullable=False),
        sa.Column("stage", sa.String(40), nullable=False),
        sa.Column("state", sa.String(40), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("progress", sa.Double(), server_default="0", nullable=False),
        sa.Column("attempt", sa.Integer(), server_default="0", nullable=False),
        sa.Column("transient_faults", sa.Integer(), server_default="0", nullable=False),
        sa.Column("defects", sa.Integer(), server_default="0", nullable=False),
        sa.Column("lost_workers", sa.Integer(), server_default="0", nullable=False),
        sa.Column("lease_token", sa.Uuid(), nullable=True),
        sa.Column("lease_expires_at", TIME, nullable=True),
        sa.Column("leased_by", sa.Text(), nullable=True),
        sa.Column("avoid_worker", sa.Text(), nullable=True),
        sa.Column("next_attempt_at", TIME, nullable=True),
        sa.Column("published_at", TIME, nullable=True),
        sa.Column("publications", sa.Integer(), server_default="0", nullable=False),
        sa.Column("deadline_at", TIME, nullable=True),
        sa.Column("ready_at", TIME, nullable=True),
        sa.Column("started_at", TIME, nullable=True),
        sa.Column("finished_at", TIME, nullable=True),
        sa.Column("warnings", JSONB, server_default=sa.text("'[]'::jsonb"), nullable=False),
        sa.Column("facts", JSONB, server_default=EMPTY_OBJECT, nullable=False),
        sa.Column("problem", JSONB, nullable=True),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name="fk_stage_runs_job_id", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("job_id", "stage", name="pk_stage_runs"),
    )


def _index_stage_runs() -> None:
    op.create_index(
        "ix_stage_runs_leased",
        "stage_runs",
        ["lease_expires_at"],
        unique=False,
        postgresql_where=sa.text("state = 'leased'"),
    )
    op.create_index(
        "ix_stage_runs_ready",
        "stage_runs",
        ["stage", "next_attempt_at"],
        unique=False,
        postgresql_where=sa.text("state = 'ready'"),
    )


def _create_outbox() -> None:
    op.create_table(
        "outbox",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("job_id", sa.Uuid(), nullable=False),
        sa.Column("stage", sa.String(40), nullable=False),
        sa.Column("priority", sa.SmallInteger(), nullable=False),
        sa.Column("created_at", TIME, server_default=NOW, nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name="fk_outbox_job_id", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name="pk_outbox"),
    )


def _create_events() -> None:
    op.create_table(
        "events",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("job_id", sa.Uuid(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("stage", sa.String(40), nullable=True),
        sa.Column("state", sa.Text(), nullable=True),
        sa.Column("progress", sa.Double(), nullable=True),
        sa.Column("facts", JSONB, server_default=EMPTY_OBJECT, nullable=False),
        sa.Column("at", TIME, server_default=sa.text("clock_timestamp()"), nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name="fk_events_job_id", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name="pk_events"),
    )
    op.create_index("ix_events_job_id_id", "events", ["job_id", "id"], unique=False)


def _create_dead_letters() -> None:
    op.create_table(
        "dead_letters",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("job_id", sa.Uuid(), nullable=False),
        sa.Column("stage", sa.String(40), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("cause", sa.Text(), nullable=False),
        sa.Column("evidence", JSONB, nullable=False),
        sa.Column("created_at", TIME, server_default=NOW, nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name="fk_dead_letters_job_id", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name="pk_dead_letters"),
    )


def _create_features() -> None:
    op.create_table(
        "features",
        sa.Column("job_id", sa.Uuid(), nullable=False),
        sa.Column("stage", sa.String(40), nullable=False),
        sa.Column("values", JSONB, nullable=False),
        sa.Column("created_at", TIME, server_default=NOW, nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name="fk_features_job_id", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("job_id", "stage", name="pk_features"),
    )


def _create_artefacts() -> None:
    op.create_table(
        "artefacts",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("job_id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.String(40), nullable=False),
        sa.Column("stage", sa.String(40), nullable=True),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("media_type", sa.Text(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("facts", JSONB, server_default=EMPTY_OBJECT, nullable=False),
        sa.Column("created_at", TIME, server_default=NOW, nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name="fk_artefacts_job_id", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name="pk_artefacts"),
        sa.UniqueConstraint("job_id", "kind", name=op.f("uq_artefacts_job_id_kind")),
        sa.UniqueConstraint("key", name=op.f("uq_artefacts_key")),
    )


def _create_results() -> None:
    op.create_table(
        "results",
        sa.Column("job_id", sa.Uuid(), nullable=False),
        sa.Column("document", JSONB, nullable=False),
        sa.Column("policy_id", sa.Text(), nullable=False),
        sa.Column("probability", sa.Double(), nullable=False),
        sa.Column("published_at", TIME, server_default=NOW, nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name="fk_results_job_id", ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["policy_id"], ["policies.id"], name="fk_results_policy_id"),
        sa.PrimaryKeyConstraint("job_id", name="pk_results"),
    )


def _create_upload_files() -> None:
    op.create_table(
        "upload_files",
        sa.Column("job_id", sa.Uuid(), nullable=False),
        sa.Column("ordinal", sa.Integer(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("code", sa.Text(), nullable=True),
        sa.Column("detail", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name="fk_upload_files_job_id", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("job_id", "ordinal", name="pk_upload_files"),
    )


def _create_series_candidates() -> None:
    op.create_table(
        "series_candidates",
        sa.Column("job_id", sa.Uuid(), nullable=False),
        sa.Column("rank", sa.Integer(), nullable=False),
        sa.Column("is_chosen", sa.Boolean(), nullable=False),
        sa.Column("series_instance_uid", sa.Text(), nullable=False),
        sa.Column("score", sa.Double(), nullable=False),
        sa.Column("criteria", JSONB, nullable=False),
        sa.Column("facts", JSONB, nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name="fk_series_candidates_job_id", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("job_id", "rank", name="pk_series_candidates"),
    )
