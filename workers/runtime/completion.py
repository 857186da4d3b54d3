"""The transactions that end a stage: well, badly, or for another try. Each is fenced by the lease token."""

from __future__ import annotations

import math
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import func
from sqlalchemy.orm import Session

from shared.endings import end_job, lock_open_job
from shared.errors import StaleLease
from shared.json_values import JsonObject
from shared.problems import Problem
from shared.stages import MODELS, StageName
from shared.states import JobState, StageState
from shared.storage import StoredObject
from shared.tables import Artefact, DeadLetter, Feature, Job, StageRun
from workers.reuse import EarlierAnswers
from workers.runtime.lease import Lease, end_lease
from workers.runtime.progression import advance_job
from workers.runtime.splitting import split_job
from workers.runtime.stage import ProducedArtefact, StageOutput

_OPTIONAL_STAGES = frozenset((*MODELS, StageName.SEGMENTATION, StageName.DELIVERY))
"""Stages whose failure leaves the job without an answer of one model, not without a result."""


@dataclass(frozen=True)
class StoredArtefact:
    """An artefact of a stage whose bytes are in object storage already."""

    produced: ProducedArtefact
    stored: StoredObject


def complete_stage(
    session: Session,
    lease: Lease,
    output: StageOutput,
    artefacts: Sequence[StoredArtefact],
    earlier: EarlierAnswers | None = None,
) -> None:
    """Write what the stage found and move the job on. Raises StaleLease and changes nothing with an old token.

    With `earlier` the answer can serve later jobs, and stages that earlier jobs have answered are not run.
    """
    job = _lock_job(session, lease)
    found = _describe_findings(output)
    if earlier is not None:
        found["recipe_sha256"] = earlier.compute_recipe(session, job, lease.stage, output.facts)
    end_lease(session, lease, StageState.SUCCEEDED, progress=1, finished_at=func.now(), **found)
    _link_to_patient(job, output)
    _add_findings(session, lease, output, artefacts)
    advance_job(session, job, earlier)


def complete_from_earlier(session: Session, job_id: uuid.UUID, stage: StageName, earlier: EarlierAnswers) -> bool:
    """End a stage that could be claimed now with the answer of an earlier job; False where there is none."""
    job = lock_open_job(session, job_id)
    if job is None or not earlier.answer_claimable(session, job, stage):
        return False
    advance_job(session, job, earlier)
    return True


def reject_study(session: Session, lease: Lease, problem: Problem, output: StageOutput | None = None) -> None:
    """End the stage because of the input: the job is rejected, or a model is left out of the result.

    A job is rejected by intake, and by any stage whose output says so; a model that only cannot read this study raises
    InputProblem instead. What the stage found out all the same is kept, and a job that is to be split is split.
    """
    job = _lock_job(session, lease)
    output = output or StageOutput()
    if output.split_into:
        problem = split_job(session, job, problem, output.split_into)
    _fail(session, lease, problem, **_describe_findings(output))
    _link_to_patient(job, output)
    _add_rows(session, lease.job_id, output)
    if lease.stage is StageName.INTAKE or output.rejection is not None:
        end_job(session, job, JobState.REJECTED, problem)
    else:
        _go_on_without(session, job, lease.stage, problem)


def fail_stage(
    session: Session, lease: Lease, problem: Problem, *, cause: str, evidence: JsonObject | None = None
) -> None:
    """End the stage because of us, with a dead letter when there is evidence."""
    job = _lock_job(session, lease)
    _fail(session, lease, problem)
    if evidence is not None:
        session.add(
            DeadLetter(
                job_id=lease.job_id,
                stage=lease.stage,
                attempt=lease.attempt,
                cause=cause,
                evidence=dict(evidence),
            )
        )
    _go_on_without(session, job, lease.stage, problem)


def retry_stage(session: Session, lease: Lease, *, counter: str, delay: timedelta, avoid: bool) -> None:
    """Give the stage back for another try after `delay`; the reaper publishes it when it is due."""
    _lock_job(session, lease)
    column = getattr(StageRun, counter)
    end_lease(
        session,
        lease,
        StageState.READY,
        next_attempt_at=func.now() + delay,
        published_at=None,
        look_again_at=None,
        avoid_worker=lease.worker if avoid else None,
        **{counter: column + 1},
    )


def _lock_job(session: Session, lease: Lease) -> Job:
    job = lock_open_job(session, lease.job_id)
    if job is None:
        raise StaleLease(f"{lease.stage}: the job has ended")
    return job


def _fail(session: Session, lease: Lease, problem: Problem, **found: object) -> None:
    end_lease(
        session,
        lease,
        StageState.FAILED,
        finished_at=func.now(),
        reason=str(problem.code),
        problem=problem.to_document(),
        **found,
    )


def _describe_findings(output: StageOutput) -> dict[str, object]:
    warnings = [{"code": warning.code, **warning.facts} for warning in output.warnings]
    return {"warnings": warnings, "facts": dict(output.facts)}


def _go_on_without(session: Session, job: Job, stage: StageName, problem: Problem) -> None:
    if stage in _OPTIONAL_STAGES:
        advance_job(session, job)
    else:
        end_job(session, job, JobState.FAILED, problem)


def _add_findings(session: Session, lease: Lease, output: StageOutput, artefacts: Sequence[StoredArtefact]) -> None:
    if output.features:
        session.add(Feature(job_id=lease.job_id, stage=lease.stage, values=_drop_missing(output.features)))
    session.add_all(_make_artefact(lease, artefact) for artefact in artefacts)
    _add_rows(session, lease.job_id, output)


def _link_to_patient(job: Job, output: StageOutput) -> None:
    if output.patient_pseudonym is not None:
        job.patient_pseudonym = output.patient_pseudonym


def _add_rows(session: Session, job_id: uuid.UUID, output: StageOutput) -> None:
    for row in output.rows:
        row.job_id = job_id  # type: ignore[attr-defined]  # every row that a stage adds belongs to its job
        session.add(row)


def _drop_missing(features: Mapping[str, float]) -> dict[str, float]:
    return {name: float(value) for name, value in features.items() if not math.isnan(value)}


def _make_artefact(lease: Lease, artefact: StoredArtefact) -> Artefact:
    return Artefact(
        id=uuid.uuid4(),
        job_id=lease.job_id,
        kind=artefact.produced.kind,
        stage=lease.stage,
        key=artefact.stored.key,
        media_type=artefact.produced.media_type,
        size_bytes=artefact.stored.size_bytes,
        sha256=artefact.stored.sha256,
        facts=dict(artefact.produced.facts),
    )
