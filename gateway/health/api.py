"""`/health`, `/livez`, `/readyz`, `/metrics`."""

from __future__ import annotations

from typing import Literal

from fastapi import APIRouter
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pydantic import BaseModel, Field
from starlette.responses import Response

from gateway.health.service import OK, read_monitors, run_checks
from gateway.problems.examples import document_problems
from gateway.resources import ResourcesOf
from shared.errors import InputProblem
from shared.problems import ProblemCode

router = APIRouter(tags=["Health"])


class HealthBody(BaseModel):
    """What callers of the predecessor look for."""

    status: Literal["healthy"] = "healthy"


class LiveBody(BaseModel):
    """The process answers."""

    status: Literal["alive"] = "alive"


class ReadyBody(BaseModel):
    """Every dependency was proven."""

    status: Literal["ready"] = "ready"
    checks: dict[str, str]
    monitors: dict[str, str] = Field(
        description="What does not stop the service: `self_check` is `passed`, `failed`, or `not_run` while the "
        "platform is younger than a day."
    )


@router.get("/health", summary="Compatible health")
async def read_health() -> HealthBody:
    """Answer as the predecessor did. `/readyz` says more."""
    return HealthBody()


@router.get("/livez", summary="Whether the process is alive")
async def read_liveness() -> LiveBody:
    """Answer without looking at any dependency."""
    return LiveBody()


@router.get("/readyz", summary="Whether studies can be accepted", responses=document_problems(ProblemCode.NOT_READY))
async def read_readiness(resources: ResourcesOf) -> ReadyBody:
    """Prove database, schema revision, active policy and storage; 503 names what is missing."""
    checks = await run_checks(resources)
    if any(outcome != OK for outcome in checks.values()):
        raise InputProblem(ProblemCode.NOT_READY, "A dependency is missing. `checks` names it.", checks=checks)
    return ReadyBody(checks=dict(checks), monitors=await read_monitors(resources))


@router.get("/metrics", summary="Prometheus metrics", response_class=Response)
async def read_metrics() -> Response:
    """Answer with the metrics of this process."""
    return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)
