"""Rows of artefacts. The upload itself is not offered: the caller has it, and it names the patient."""

from __future__ import annotations

import uuid
from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from gateway.jobs.repository import fetch_job
from gateway.tenants import Tenant
from shared.artefacts import ArtefactKind
from shared.errors import InputProblem
from shared.problems import ProblemCode
from shared.tables import Artefact


def fetch_artifacts(session: Session, tenant: Tenant, job_id: uuid.UUID) -> Sequence[Artefact]:
    """Return what the stages of a job made. Raises JobNotFound."""
    fetch_job(session, tenant, job_id)
    query = select(Artefact).where(Artefact.job_id == job_id, Artefact.kind != ArtefactKind.UPLOAD)
    return session.scalars(query.order_by(Artefact.created_at, Artefact.kind)).all()


def fetch_artifact(session: Session, tenant: Tenant, job_id: uuid.UUID, name: str) -> Artefact:
    """Return one of them. Raises JobNotFound, or InputProblem(NOT_FOUND)."""
    found = {str(artefact.kind): artefact for artefact in fetch_artifacts(session, tenant, job_id)}
    if name not in found:
        raise InputProblem(ProblemCode.NOT_FOUND, "The job has no artefact of this name.", names=sorted(found))
    return found[name]
