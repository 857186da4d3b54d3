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


_NOBODY_IS_TOLD = StagePlan(StageName.DELIVERY, StageState.SKIPPED, SkipReason.NO_CALLBACK)


def plan_stages(
    installed: Collection[StageName],
    requested: Collection[StageName] | None,
    *,
    paused: Collection[StageName] = (),
    validates_only: bool = False,
    is_told: bool = False,
) -> tuple[StagePlan, ...]:
    """Plan all nine stages. `requested` names models, None means all; one that `validates_only` ends with intake.

    `is_told`: somebody is told how the job ended.
    """
    reading = [stage for stage in StageName if stage is not StageName.DELIVERY]
    delivery = StagePlan(StageName.DELIVERY, StageState.WAITING) if is_told else _NOBODY_IS_TOLD
    if validates_only:
        return (*map(_plan_validation, reading), delivery)
    return (*(_plan_stage(stage, installed, requested, paused) for stage in reading), delivery)


def _plan_validation(stage: StageName) -> StagePlan:
    if stage is StageName.INTAKE:
        return _plan_stage(stage, (), None, ())
    return StagePlan(stage, StageState.SKIPPED, SkipReason.VALIDATE_ONLY)


def _plan_stage(
    stage: StageName,
    installed: Collection[StageName],
    requested: Collection[StageName] | None,
    paused: Collection[StageName],
) -> StagePlan:
    if stage is StageName.INTAKE:
        return StagePlan(stage, StageState.READY)
    if stage not in WEIGHTED_STAGES:
        return StagePlan(stage, StageState.WAITING)
    if requested is not None and _get_asker(stage) not in requested:
        return StagePlan(stage, StageState.SKIPPED, SkipReason.MODEL_NOT_REQUESTED)
    if stage not in installed:
        return StagePlan(stage, StageState.SKIPPED, SkipReason.MODEL_NOT_INSTALLED)
    if stage in paused:
        return StagePlan(stage, StageState.SKIPPED, SkipReason.MODEL_PAUSED)
    return StagePlan(stage, StageState.WAITING)


def _get_asker(stage: StageName) -> StageName:
    """Return the model whose request brings a stage: nobody asks for masks but fVLM."""
    return StageName.FVLM if stage is StageName.SEGMENTATION else stage
