"""Bodies of models, and how they are made from rows."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from collections.abc import Set as AbstractSet
from enum import StrEnum
from typing import Any

from pydantic import BaseModel, Field

from shared.settings import WeightsProfile
from shared.stages import MODELS, STAGES, WEIGHTED_STAGES, SkipReason, StageName
from shared.tables import ModelVersion, Policy

_DISCLAIMERS = {
    WeightsProfile.DEMO: "Demo weights, trained on procedural phantoms. Not for clinical use.",
    WeightsProfile.FULL: "For research use. Not a medical device.",
    WeightsProfile.NONE: "No weights are installed; nothing is read. Not for clinical use.",
}


class StageRole(StrEnum):
    """What a stage does for the answer."""

    STEP = "step"
    MODEL = "model"
    SERVICE = "service"
    FUSION = "fusion"


class ModelBody(BaseModel):
    """One of the nine stages, with the model that new jobs run it with."""

    name: StageName
    role: StageRole = Field(description="Five stages are models; segmentation serves one of them.")
    is_available: bool = Field(description="Whether new jobs run it.")
    reason: str | None = Field(description="Why it is not available.")
    needs: list[StageName]
    version: str | None
    digest: str | None = Field(description="SHA-256 over everything that changes an answer.")
    weights_profile: str | None
    facts: dict[str, Any]


class MissingModel(BaseModel):
    """A model that will not answer."""

    model: StageName
    reason: str


class CompletenessBody(BaseModel):
    """How many of the five models answer here."""

    answering: int
    expected: int
    missing: list[MissingModel]


class PolicyBody(BaseModel):
    """The policy that new jobs are accepted under."""

    id: str
    name: str
    document: dict[str, Any]


class ModelList(BaseModel):
    """Everything that runs here, and what does not."""

    items: list[ModelBody]
    next_cursor: str | None = None
    completeness: CompletenessBody
    policy: PolicyBody | None
    weights_profile: WeightsProfile
    disclaimer: str


def describe_models(
    versions: Mapping[StageName, ModelVersion],
    policy: Policy | None,
    profile: WeightsProfile,
    paused: Collection[StageName] = (),
) -> ModelList:
    """Return all nine stages, honest about what is missing or paused."""
    items: list[ModelBody] = []
    for stage in StageName:  # each behind those that it needs
        unavailable = {item.name for item in items if not item.is_available}
        reason = _find_reason(stage, versions.get(stage), is_paused=stage in paused, unavailable=unavailable)
        items.append(_describe_stage(stage, versions.get(stage), reason))
    return ModelList(
        items=items,
        completeness=_describe_completeness(items),
        policy=PolicyBody(id=policy.id, name=policy.name, document=policy.document) if policy else None,
        weights_profile=profile,
        disclaimer=_DISCLAIMERS[profile],
    )


def _describe_stage(stage: StageName, version: ModelVersion | None, reason: SkipReason | None) -> ModelBody:
    return ModelBody(
        name=stage,
        role=_get_role(stage),
        is_available=reason is None,
        reason=reason,
        needs=list(STAGES[stage].needs),
        version=version.version if version else None,
        digest=version.digest if version else None,
        weights_profile=version.weights_profile if version else None,
        facts=version.facts if version else {},
    )


def _get_role(stage: StageName) -> StageRole:
    if stage in MODELS:
        return StageRole.MODEL
    return {StageName.SEGMENTATION: StageRole.SERVICE, StageName.FUSION: StageRole.FUSION}.get(stage, StageRole.STEP)


def _find_reason(
    stage: StageName, version: ModelVersion | None, *, is_paused: bool, unavailable: AbstractSet[StageName]
) -> SkipReason | None:
    """Return why new jobs do not run a stage."""
    has_weights = stage in WEIGHTED_STAGES or stage is StageName.FUSION
    if has_weights and version is None:
        return SkipReason.MODEL_NOT_INSTALLED
    if is_paused:
        return SkipReason.MODEL_PAUSED
    lacks_need = stage in WEIGHTED_STAGES and not unavailable.isdisjoint(STAGES[stage].needs)
    return SkipReason.NEEDED_STAGE_MISSING if lacks_need else None


def _describe_completeness(items: list[ModelBody]) -> CompletenessBody:
    models = [item for item in items if item.role is StageRole.MODEL]
    missing = [MissingModel(model=item.name, reason=str(item.reason)) for item in models if not item.is_available]
    return CompletenessBody(answering=len(models) - len(missing), expected=len(models), missing=missing)
