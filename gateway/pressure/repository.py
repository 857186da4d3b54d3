"""What stands open, counted no further than the limits: a queue of any length costs the same."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import func, literal, select
from sqlalchemy.orm import Session

from gateway.tenants import Tenant
from shared.queue_tables import TenantUsage
from shared.tables import Job


@dataclass(frozen=True)
class Load:
    """How full it is: open jobs in all and of a tenant, up to one more than the limits, and a tenant's bytes."""

    jobs: int
    tenant_jobs: int
    tenant_bytes: int


def fetch_load(session: Session, tenant: Tenant, *, limit: int, tenant_limit: int | None) -> Load:
    """Return how full it is."""
    usage = select(TenantUsage.stored_bytes).where(TenantUsage.tenant == tenant)
    return Load(
        jobs=_count_open(session, limit),
        tenant_jobs=0 if tenant_limit is None else _count_open(session, tenant_limit, tenant),
        tenant_bytes=session.scalar(usage) or 0,
    )


def _count_open(session: Session, limit: int, tenant: Tenant | None = None) -> int:
    found = select(literal(1)).select_from(Job).where(Job.finished_at.is_(None))
    if tenant is not None:
        found = found.where(Job.tenant == tenant)
    return session.scalar(select(func.count()).select_from(found.limit(limit + 1).subquery())) or 0
