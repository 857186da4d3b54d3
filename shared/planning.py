"""Which stages of a new job will run, and why the others will not. Pure."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from shared.stages import WEIGHTED_STAGES, SkipReason, StageName
from shared.states import StageState

MOST_SPLIT_STUDIES = 100
"""How many studies one upload is split into at most; an upload with more stays refused."""


@dataclass(frozen=True)
class StagePlan:
    """How a stage of a new job begins."""

    stage: StageName
    state: StageState
    reason: SkipReason | None = None


def plan_stages(
    installed: Collection[StageName], requested: Collection[StageName] | None, *, validates_only: bool = False
) -> tuple[StagePlan, ...]:
    """Plan all nine stages. `requested` names models, None means all; one that `validates_only` ends with intake."""
    if validates_only:
        return tuple(_plan_validation(stage) for stage in StageName)
    return tuple(_plan_stage(stage, installed, requested) for stage in StageName)


def _plan_validation(stage: StageName) -> StagePlan:
    if stage in {StageName.INTAKE, StageName.DELIVERY}:
        return _plan_stage(stage, (), None)
    return StagePlan(stage, StageState.SKIPPED, SkipReason.VALIDATE_ONLY)


def _plan_stage(
    stage: StageName, installed: Collection[StageName], requested: Collection[StageName] | None
) -> StagePlan:
    if stage is StageName.INTAKE:
        return StagePlan(stage, StageState.READY)
    if stage is StageName.DELIVERY:
        return StagePlan(stage, StageState.SKIPPED, SkipReason.NO_CALLBACK)
    if stage not in WEIGHTED_STAGES:
        return StagePlan(stage, StageState.WAITING)
    if requested is not None and _get_asker(stage) not in requested:
        return StagePlan(stage, StageState.SKIPPED, SkipReason.MODEL_NOT_REQUESTED)
    if stage not in installed:
        return StagePlan(stage, StageState.SKIPPED, SkipReason.MODEL_NOT_INSTALLED)
    return StagePlan(stage, StageState.WAITING)


def _get_asker(stage: StageName) -> StageName:
    """Return the model whose request brings a stage: nobody asks for masks but fVLM."""
    return StageName.FVLM if stage is StageName.SEGMENTATION else stage
