"""Rows of what intake found: read in pages, since an archive may hold tens of thousands of files."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from gateway.jobs.errors import IntakeNotFinished
from gateway.jobs.patience import choose_wait_for_reading
from gateway.jobs.repository import fetch_job
from gateway.tenants import Tenant
from shared.file_codes import FileOutcome
from shared.stages import StageName
from shared.tables import SeriesCandidate, StageRun, UploadFile

MOST_CANDIDATES_TOLD = 200


@dataclass(frozen=True)
class FileQuestion:
    """Which files are asked for: up to `limit` of some outcomes (all when none is named), behind an ordinal."""

    limit: int
    after: int | None = None
    outcomes: Collection[FileOutcome] = ()


@dataclass(frozen=True)
class FileCount:
    """How many files met with one fate."""

    outcome: str
    code: str | None
    files: int


@dataclass(frozen=True)
class IntakeRecord:
    """What intake wrote. `files` and `candidates` are cut; `file_counts` and `candidates_found` count all."""

    run: StageRun
    patient: str | None
    files: Sequence[UploadFile]
    file_counts: Sequence[FileCount]
    candidates: Sequence[SeriesCandidate]
    candidates_found: int


def fetch_intake(session: Session, tenant: Tenant, job_id: uuid.UUID, question: FileQuestion) -> IntakeRecord:
    """Return what intake wrote. Raises JobNotFound or IntakeNotFinished."""
    job = fetch_job(session, tenant, job_id)
    run = session.get_one(StageRun, (job_id, StageName.INTAKE))
    if not run.state.is_terminal:
        raise IntakeNotFinished(choose_wait_for_reading(session, run))
    return IntakeRecord(
        run=run,
        patient=job.patient_pseudonym,
        files=_fetch_files(session, job_id, question),
        file_counts=_count_files(session, job_id),
        candidates=_fetch_candidates(session, job_id),
        candidates_found=_count_candidates(session, job_id),
    )


def _fetch_files(session: Session, job_id: uuid.UUID, question: FileQuestion) -> Sequence[UploadFile]:
    query = select(UploadFile).where(UploadFile.job_id == job_id)
    if question.after is not None:
        query = query.where(UploadFile.ordinal > question.after)
    if question.outcomes:
        query = query.where(UploadFile.outcome.in_(question.outcomes))
    return session.scalars(query.order_by(UploadFile.ordinal).limit(question.limit)).all()


def _count_files(session: Session, job_id: uuid.UUID) -> list[FileCount]:
    fate = (UploadFile.outcome, UploadFile.code)
    query = select(*fate, func.count()).where(UploadFile.job_id == job_id).group_by(*fate)
    return [FileCount(*row) for row in session.execute(query.order_by(func.count().desc(), *fate))]


def _fetch_candidates(session: Session, job_id: uuid.UUID) -> list[SeriesCandidate]:
    query = select(SeriesCandidate).where(SeriesCandidate.job_id == job_id)
    # A series that was forced may stand behind all others.
    query = query.order_by(SeriesCandidate.is_chosen.desc(), SeriesCandidate.rank).limit(MOST_CANDIDATES_TOLD)
    return sorted(session.scalars(query), key=lambda candidate: candidate.rank)


def _count_candidates(session: Session, job_id: uuid.UUID) -> int:
    query = select(func.count()).select_from(SeriesCandidate).where(SeriesCandidate.job_id == job_id)
    return session.scalar(query) or 0
