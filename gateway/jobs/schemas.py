"""Bodies of jobs, and how they are made from rows."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pydantic import BaseModel, Field

from gateway.jobs.estimates import Estimate
from gateway.problems.schemas import ProblemBody
from shared.stages import SkipReason, StageName
from shared.states import JobState, StageState
from shared.tables import Job, StageRun
from shared.tracing import parse_trace_id

_STAGE_ORDER = {stage: number for number, stage in enumerate(StageName)}


class StageBody(BaseModel):
    """One stage of a job."""

    name: StageName
    state: StageState
    attempt: int = Field(description="How often it was begun.")
    reason: str | None = Field(description="Why it was skipped or failed.")
    progress: float = Field(ge=0, le=1)
    started_at: datetime | None
    finished_at: datetime | None
    seconds: float | None = Field(description="Seconds of the last run, once it has ended; null where there was none.")
    reused_from: uuid.UUID | None = Field(
        default=None, description="The job whose answer it took instead of running: same pixels, model and code."
    )


class EtaBody(BaseModel):
    """When the job may end, by the latest jobs of the same models."""

    p50_s: float = Field(description="Half of them took no longer from where this one stands, queueing included.")
    p90_s: float = Field(description="Nine of ten took no longer.")


class LinksBody(BaseModel):
    """Where to go on; null where there is nothing yet."""

    self: str
    result: str | None
    intake: str | None
    events: str | None
    artifacts: str | None


class JobBody(BaseModel):
    """A job."""

    id: uuid.UUID
    state: JobState
    progress: float = Field(ge=0, le=1)
    stages: list[StageBody]
    queue_position: int | None = Field(
        description="1 is next; null once it runs. Behind the first thousand it is some seconds old."
    )
    eta: EtaBody | None = Field(
        default=None, description="Null once the job has ended, and where no job like it was measured."
    )
    created_at: datetime
    finished_at: datetime | None
    deadline: datetime
    priority: int
    labels: dict[str, Any]
    patient: str | None = Field(
        default=None,
        description="Pseudonym: equal in all jobs of one patient. Null before intake ended, or where no id was given.",
    )
    problem: ProblemBody | None
    reused_from: uuid.UUID | None = Field(
        description="The job that answered stages of this one, the first of them where there are several."
    )
    trace_id: str | None = Field(
        default=None,
        description="The trace of its submission; logs and spans of all that is done for it carry it.",
    )
    links: LinksBody


class JobList(BaseModel):
    """One page of jobs, newest first."""

    items: list[JobBody]
    next_cursor: str | None


class ErasureBody(BaseModel):
    """The certificate of an erased job."""

    certificate_id: uuid.UUID
    erased_at: datetime
    objects: int = Field(description="Objects removed from storage.")
    rows: int = Field(description="Rows removed from the database.")


@dataclass(frozen=True)
class JobRecord:
    """A job's row with what belongs to it."""

    job: Job
    stages: Sequence[StageRun]
    queue_position: int | None
    estimate: Estimate | None = None


def describe_job(record: JobRecord) -> JobBody:
    """Return the job as callers see it."""
    job = record.job
    stages = sorted(record.stages, key=lambda run: _STAGE_ORDER[run.stage])
    body = JobBody(
        id=job.id,
        state=job.state,
        progress=_compute_progress(job, stages),
        stages=[_describe_stage(run) for run in stages],
        queue_position=record.queue_position,
        created_at=job.created_at,
        finished_at=job.finished_at,
        deadline=job.deadline_at,
        priority=job.priority,
        labels=job.labels,
        patient=job.patient_pseudonym,
        problem=describe_problem(job.problem, job.id, parse_trace_id(job.traceparent)),
        trace_id=parse_trace_id(job.traceparent),
        reused_from=next((run.reused_from for run in stages if run.reused_from is not None), None),
        links=_make_links(job, stages),
    )
    if record.estimate is None:
        return body
    return body.model_copy(update={"eta": EtaBody(p50_s=record.estimate.p50_s, p90_s=record.estimate.p90_s)})


def describe_problem(
    document: Mapping[str, Any] | None, job_id: uuid.UUID, trace_id: str | None = None
) -> ProblemBody | None:
    """Return a problem of a job or a stage; it happened to the job, whose trace belongs to it."""
    if document is None:
        return None
    return ProblemBody.model_validate({**document, "instance": make_job_path(job_id), "trace_id": trace_id})


def is_validation(stages: Sequence[StageRun]) -> bool:
    """Say whether a job only reads the study, so that it never has a result."""
    return any(run.stage is StageName.FUSION and run.reason == SkipReason.VALIDATE_ONLY for run in stages)


def make_job_path(job_id: uuid.UUID) -> str:
    """Return the address of a job."""
    return f"/v1/jobs/{job_id}"


def _describe_stage(run: StageRun) -> StageBody:
    seconds = (run.finished_at - run.started_at).total_seconds() if run.finished_at and run.started_at else None
    return StageBody(
        name=run.stage,
        state=run.state,
        attempt=run.attempt,
        reason=run.reason,
        progress=_measure(run),
        started_at=run.started_at,
        finished_at=run.finished_at,
        seconds=seconds,
        reused_from=run.reused_from,
    )


def _measure(run: StageRun) -> float:
    return 1.0 if run.state.is_terminal else run.progress


def _compute_progress(job: Job, stages: Sequence[StageRun]) -> float:
    """Return the share of the planned stages that is done; every one counts the same, delivery not."""
    planned = [run for run in stages if run.state is not StageState.SKIPPED and run.stage is not StageName.DELIVERY]
    if job.state.is_terminal or not planned:
        return 1.0
    return round(sum(_measure(run) for run in planned) / len(planned), 4)


def _make_links(job: Job, stages: Sequence[StageRun]) -> LinksBody:
    path = make_job_path(job.id)
    has_intake = any(run.stage is StageName.INTAKE and run.state.is_terminal for run in stages)
    return LinksBody(
        self=path,
        result=f"{path}/result" if job.state.has_result and not is_validation(stages) else None,
        intake=f"{path}/intake" if has_intake else None,
        events=f"{path}/events",
        artifacts=f"{path}/artifacts",
    )
