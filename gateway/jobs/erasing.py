"""Erasing: every object and every row of a job goes; a certificate stays that names nothing of the study.

The objects go first and the rows after, in a transaction that holds the job: a fault between leaves rows whose objects
are gone, and the same request again finishes the work.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator

from sqlalchemy import Select, delete, func, select
from sqlalchemy.orm import Session

from gateway.jobs.repository import lock_job
from gateway.jobs.schemas import ErasureBody
from gateway.tenants import Tenant
from shared.access_tables import Erasure
from shared.endings import end_job
from shared.shared_objects import fetch_in_turn, is_shared
from shared.states import JobState
from shared.storage import ObjectStore
from shared.tables import Base, Job, WebhookDelivery, WebhookTry


def erase_job(session: Session, store: ObjectStore, tenant: Tenant, job_id: uuid.UUID) -> ErasureBody:
    """Erase a job; one that runs is cancelled first. Raises JobNotFound or JobErased, and TransientFault."""
    job = lock_job(session, tenant, job_id)
    if not job.state.is_terminal:
        end_job(session, job, JobState.CANCELLED)
        session.flush()
    objects = _remove_objects(session, store, job_id)
    rows = sum(session.scalar(query) or 0 for query in _count_rows(job_id))
    session.execute(delete(Job).where(Job.id == job_id))
    erasure = Erasure(id=uuid.uuid4(), tenant=tenant, job_id=job_id, objects=objects, rows=rows)
    session.add(erasure)
    session.flush()
    session.refresh(erasure)
    return ErasureBody(certificate_id=erasure.id, erased_at=erasure.erased_at, objects=objects, rows=rows)


def _remove_objects(session: Session, store: ObjectStore, job_id: uuid.UUID) -> int:
    """Remove the objects that no other job names; return how many."""
    removed = 0
    for artefact in fetch_in_turn(session, job_id):
        if not is_shared(session, artefact):
            store.remove(artefact.key)
            removed += 1
    return removed


def _count_rows(job_id: uuid.UUID) -> Iterator[Select[int]]:
    """Yield a count of the job's own row, of each table whose rows go with it, and of what goes with those."""
    yield select(func.count()).select_from(Job).where(Job.id == job_id)
    for table in Base.metadata.sorted_tables:
        if any(key.column.table is Job.__table__ for key in table.foreign_keys):
            yield select(func.count()).select_from(table).where(table.c.job_id == job_id)
    tries = select(func.count()).select_from(WebhookTry).join(WebhookDelivery)
    yield tries.where(WebhookDelivery.job_id == job_id)
