"""The tables of uploads that come in parts, and the indexes that lists and estimates of the gateway search by."""

from __future__ import annotations

import uuid
from datetime import datetime

from sqlalchemy import BigInteger, ForeignKey, Index, func, text
from sqlalchemy.orm import Mapped, mapped_column

from shared.tables import Base, Job, StageRun


class Upload(Base):
    """A file that comes in parts, of `part_size_bytes` each but for the last.

    `key` names the whole once it is put together, and nothing any more once a job owns it (`job_id`). While a gateway
    puts it together it holds `assembly_token`, until `assembly_until`.
    """

    __tablename__ = "uploads"

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    tenant: Mapped[str]
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    part_size_bytes: Mapped[int] = mapped_column(BigInteger)
    announced_sha256: Mapped[str | None]
    kind: Mapped[str | None]
    media_type: Mapped[str | None]
    key: Mapped[str | None] = mapped_column(index=True)
    sha256: Mapped[str | None]
    assembly_token: Mapped[uuid.UUID | None]
    assembly_until: Mapped[datetime | None]
    job_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), index=True)
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    expires_at: Mapped[datetime] = mapped_column(index=True)

    __table_args__ = (Index("ix_uploads_tenant_created_at", "tenant", "created_at"),)


class UploadPart(Base):
    """One part of an upload that has come whole; it is an object of its own until the upload is put together."""

    __tablename__ = "upload_parts"

    upload_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("uploads.id", ondelete="CASCADE"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(index=True)
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    sha256: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


SEARCHED = (
    Index("ix_jobs_labels", Job.labels, postgresql_using="gin"),
    Index(
        "ix_stage_runs_succeeded",
        StageRun.stage,
        StageRun.finished_at,
        postgresql_where=text("state = 'succeeded'"),
    ),
)
"""What lists of jobs are filtered by, and where the times of finished stages are found."""
