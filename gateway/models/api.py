"""`/v1/models`."""

from __future__ import annotations

from fastapi import APIRouter
from sqlalchemy import select
from sqlalchemy.orm import Session

from gateway.models.schemas import ModelList, describe_models
from gateway.parameters import NO_QUERY
from gateway.problems.examples import document_problems
from gateway.resources import ResourcesOf
from shared.pauses import fetch_paused
from shared.problems import ProblemCode
from shared.tables import ModelVersion, Policy

router = APIRouter(prefix="/v1/models", tags=["Models"])


@router.get(
    "",
    summary="What runs here",
    responses=document_problems(ProblemCode.VALIDATION_FAILED, ProblemCode.DATABASE_UNAVAILABLE),
    dependencies=[NO_QUERY],
)
async def read_models(resources: ResourcesOf) -> ModelList:
    """List the nine stages with version, digest and weights profile, and say what is missing."""
    settings = resources.settings

    def describe(session: Session) -> ModelList:
        versions = session.scalars(select(ModelVersion).where(ModelVersion.is_active))
        policy = session.scalar(select(Policy).where(Policy.name == settings.policy, Policy.is_active))
        installed = {version.stage: version for version in versions}
        return describe_models(installed, policy, settings.weights_profile, fetch_paused(session))

    return await resources.transact(describe)
