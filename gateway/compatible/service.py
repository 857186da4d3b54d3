"""Submit, wait, translate. There is no pipeline here."""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fastapi import Request
from sqlalchemy.orm import Session
from starlette.exceptions import HTTPException

from gateway.compatible.schemas import PredictionBody, pick_prediction
from gateway.jobs.options import ANSWERED_OPTIONS
from gateway.jobs.repository import fetch_job
from gateway.jobs.submission import BodySubmitter
from gateway.jobs.waiting import wait_for_end
from gateway.resources import Resources
from gateway.tenants import Tenant
from shared.problems import CATALOGUE, ProblemCode
from shared.tables import Job, Result

_CALLERS_FAULTS = range(400, 500)
_STATUS_OF_BAD_STUDY = 422
_TOO_MUCH = 429
# Statuses of ours that the predecessor's callers know for an unread upload too.
_KEPT_STATUSES = frozenset({413, 500, 503})


class PredictionFailed(Exception):  # like all our errors, it says what happened
    """There is no prediction; `status` and `message` say why, as the predecessor did."""

    def __init__(self, status: int, message: str, *, seconds: float, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.seconds = seconds
        self.headers = headers or {}


@dataclass(frozen=True)
class ReadStudy:
    """The answer, the job that found it and the weights that it was found with."""

    body: PredictionBody
    job_id: uuid.UUID
    weights_profile: str


class Prediction:
    """One request of a caller of the predecessor."""

    def __init__(self, resources: Resources, tenant: Tenant, request: Request, extensions: tuple[str, ...]) -> None:
        self._resources = resources
        self._tenant = tenant
        self._request = request
        self._extensions = extensions
        self._started = time.monotonic()

    @property
    def seconds(self) -> float:
        """Wall time since the request came."""
        return time.monotonic() - self._started

    async def run(self) -> ReadStudy:
        """Return the answer. Raises PredictionFailed, InputProblem, TransientFault or HTTPException(400)."""
        submitter = BodySubmitter(
            self._resources, self._tenant, self._request, check_name=self._check_name, options=ANSWERED_OPTIONS
        )
        accepted = await submitter.submit()
        if not await self._wait(accepted.job.id):
            raise self._give_up(accepted.job.id)
        return await self._translate(accepted.job.id)

    def _check_name(self, file_name: str | None) -> None:
        if not (file_name or "").endswith(self._extensions):
            raise HTTPException(400, f"The file's name must end in {' or '.join(self._extensions)}.")

    async def _wait(self, job_id: uuid.UUID) -> bool:
        limit_s = self._resources.settings.compatible_wait_limit.total_seconds()
        return await wait_for_end(self._resources, self._request, job_id, limit_s)

    def _give_up(self, job_id: uuid.UUID) -> PredictionFailed:
        limit_s = self._resources.settings.compatible_wait_limit.total_seconds()
        message = f"The study was not read within {limit_s:g} s. It goes on as job {job_id}: see /v1/jobs/{job_id}."
        return PredictionFailed(503, message, seconds=self.seconds, headers={"Retry-After": "60"})

    async def _translate(self, job_id: uuid.UUID) -> ReadStudy:
        job, result = await self._resources.transact(lambda session: _fetch_outcome(session, self._tenant, job_id))
        if result is not None and job.state.has_result:
            return ReadStudy(pick_prediction(result.document), job_id, str(result.document["weights_profile"]))
        seconds = (job.finished_at - job.created_at).total_seconds() if job.finished_at else self.seconds
        raise PredictionFailed(choose_status(job.problem), _explain(job), seconds=seconds)


def choose_status(problem: Mapping[str, Any] | None) -> int:
    """Return the status of the predecessor for a problem.

    The study's fault is 422, ours is 500 or 503; 503 too is what may succeed when it is sent again.
    """
    status = int(problem["status"]) if problem else CATALOGUE[ProblemCode.INTERNAL_ERROR].status
    if status in _KEPT_STATUSES:
        return status
    is_early = problem is not None and (status == _TOO_MUCH or problem["code"] == ProblemCode.IDEMPOTENCY_KEY_IN_FLIGHT)
    if status in _CALLERS_FAULTS and not is_early:
        return _STATUS_OF_BAD_STUDY
    return CATALOGUE[ProblemCode.STORAGE_UNAVAILABLE].status


def _fetch_outcome(session: Session, tenant: Tenant, job_id: uuid.UUID) -> tuple[Job, Result | None]:
    return fetch_job(session, tenant, job_id), session.get(Result, job_id)


def _explain(job: Job) -> str:
    if job.problem is None:
        return f"The job is {job.state}."
    return f"{job.problem['code']}: {job.problem['title']}. {job.problem['detail']}"
