"""The tables of access: who may ask, how much is left to them, and what was done."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, Identity, Index, SmallInteger, func
from sqlalchemy.orm import Mapped, mapped_column

from shared.tables import Base


class ApiKey(Base):
    """A key of a tenant. Of its secret only the digest is kept; `prefix` is how people tell keys apart."""

    __tablename__ = "api_keys"

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    sequence: Mapped[int] = mapped_column(BigInteger, Identity(always=True))
    tenant: Mapped[str]
    name: Mapped[str]
    prefix: Mapped[str] = mapped_column(unique=True)
    secret_sha256: Mapped[str]
    scopes: Mapped[list[Any]]
    created_by: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    expires_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]
    last_used_at: Mapped[datetime | None]

    __table_args__ = (Index("ix_api_keys_tenant_sequence", "tenant", "sequence"),)


class Allowance(Base):
    """How far ahead of the clock a caller has spent its requests. A crash forgets it, which harms nobody."""

    __tablename__ = "allowances"

    caller: Mapped[str] = mapped_column(primary_key=True)
    spent_until: Mapped[datetime]

    __table_args__ = {"prefixes": ["UNLOGGED"]}  # noqa: RUF012  # SQLAlchemy reads it as a class attribute


class AuditEntry(Base):
    """One thing that was done. The database refuses to change or remove it; its digest covers the one before."""

    __tablename__ = "audit_entries"

    sequence: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    at: Mapped[datetime]
    tenant: Mapped[str]
    actor: Mapped[str]
    action: Mapped[str]
    target: Mapped[str]
    status: Mapped[int] = mapped_column(SmallInteger)
    trace_id: Mapped[str]
    previous_sha256: Mapped[str]
    sha256: Mapped[str]

    __table_args__ = (Index("ix_audit_entries_tenant_sequence", "tenant", "sequence"),)


class Erasure(Base):
    """That a job was erased: all that is left of it. Names nothing of the study."""

    __tablename__ = "erasures"

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    tenant: Mapped[str]
    job_id: Mapped[uuid.UUID] = mapped_column(unique=True)
    objects: Mapped[int]
    rows: Mapped[int]
    erased_at: Mapped[datetime] = mapped_column(server_default=func.now())
