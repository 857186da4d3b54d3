"""Rows that an earlier answer is found by, and copied with."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from shared.artefacts import ArtefactKind
from shared.shared_objects import hold_object
from shared.stages import StageName
from shared.states import StageState
from shared.tables import Artefact, Document, Feature, Job, ModelVersion, Policy, StageRun
from workers.reuse.recipe import Study


@dataclass(frozen=True)
class Answer:
    """What a run found."""

    donor: StageRun
    features: Document | None
    artefacts: Sequence[Artefact]


def fetch_study(session: Session, job: Job) -> Study:
    """Return what the stages of a job are given, as far as its artefacts tell."""
    rows = {row.kind: row for row in session.scalars(select(Artefact).where(Artefact.job_id == job.id))}
    source = rows.get(ArtefactKind.SOURCE_SERIES)
    return Study(
        volume_sha256=_get_content(rows.get(ArtefactKind.VOLUME)),
        masks_sha256=_get_content(rows.get(ArtefactKind.MASKS)),
        source_sha256=None if source is None else source.sha256,
        policy=session.get_one(Policy, job.policy_id).document,
    )


def fetch_active_model(session: Session, stage: StageName) -> str | None:
    """Return the digest of the model that a stage runs with now."""
    query = select(ModelVersion.digest).where(ModelVersion.stage == stage, ModelVersion.is_active)
    return session.scalars(query.order_by(ModelVersion.registered_at.desc())).first()


def find_donor(session: Session, job: Job, stage: StageName, recipe: str) -> StageRun | None:
    """Return a run of another job of the tenant that answered the same question; best one in which the model ran."""
    query = (
        select(StageRun)
        .join(Job)
        .where(Job.tenant == job.tenant, Job.id != job.id)
        .where(StageRun.recipe_sha256 == recipe, StageRun.stage == stage, StageRun.state == StageState.SUCCEEDED)
        .order_by(StageRun.reused_from.is_not(None), StageRun.finished_at)
        .limit(1)
    )
    return session.scalar(query)


def hold_answer(session: Session, donor: StageRun) -> Answer | None:
    """Return what a run found, its objects kept from removal until this transaction ends; None where it has just gone.

    Whether it is still there is asked last: an erasure that has ended by then is seen, and later ones wait.
    """
    features = session.get(Feature, (donor.job_id, donor.stage))
    query = select(Artefact).where(Artefact.job_id == donor.job_id, Artefact.stage == donor.stage)
    artefacts = sorted(session.scalars(query), key=lambda each: each.key)
    for artefact in artefacts:
        hold_object(session, artefact.key)
    left = session.scalar(select(func.count()).select_from(query.subquery()))
    run = select(StageRun.stage).where(StageRun.job_id == donor.job_id, StageRun.stage == donor.stage)
    is_whole = left == len(artefacts) and session.scalar(run) is not None
    return Answer(donor, None if features is None else features.values, artefacts) if is_whole else None


def copy_answer(session: Session, job_id: uuid.UUID, answer: Answer) -> uuid.UUID:
    """Give a job the answer of an earlier run; its objects are shared. Returns the job in which the model ran."""
    donor = answer.donor
    origin = donor.reused_from or donor.job_id
    if answer.features is not None:
        session.add(Feature(job_id=job_id, stage=donor.stage, values=answer.features))
    session.add_all(copy_artefact(job_id, artefact) for artefact in answer.artefacts)
    session.execute(
        update(StageRun)
        .where(StageRun.job_id == job_id, StageRun.stage == donor.stage)
        .values(
            state=StageState.SUCCEEDED,
            reason=None,
            progress=1,
            started_at=None,
            finished_at=func.now(),
            warnings=donor.warnings,
            facts=donor.facts,
            recipe_sha256=donor.recipe_sha256,
            reused_from=origin,
        )
    )
    return origin


def is_claimable(session: Session, job_id: uuid.UUID, stage: StageName) -> bool:
    """Say whether a stage is ready and due, so that a worker could claim it now."""
    query = select(StageRun.stage).where(StageRun.job_id == job_id, StageRun.stage == stage)
    due = query.where(StageRun.state == StageState.READY, StageRun.next_attempt_at <= func.now())
    return session.scalar(due) is not None


def _get_content(artefact: Artefact | None) -> str | None:
    """Return the digest of what an artefact holds, however it is packed; None in artefacts of earlier versions."""
    return None if artefact is None else artefact.facts.get("content_sha256")


def copy_artefact(job_id: uuid.UUID, artefact: Artefact) -> Artefact:
    """Return a row by which a job names an object of another one; whoever adds it holds the object."""
    return Artefact(
        id=uuid.uuid4(),
        job_id=job_id,
        kind=artefact.kind,
        stage=artefact.stage,
        key=artefact.key,
        media_type=artefact.media_type,
        size_bytes=artefact.size_bytes,
        sha256=artefact.sha256,
        facts=artefact.facts,
    )
