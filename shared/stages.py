"""The nine stages and the graph between them. Pure: no database, no broker."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

from shared.states import StageState


class StageName(StrEnum):
    """Names of the stages, in the order in which people read them."""

    INTAKE = "intake"
    CT_CLIP = "ct_clip"
    SUPERVISED = "supervised"
    MEDNEXT = "mednext"
    DIFFUSION = "diffusion"
    SEGMENTATION = "segmentation"
    FVLM = "fvlm"
    FUSION = "fusion"
    DELIVERY = "delivery"


class SkipReason(StrEnum):
    """Why a stage did not run although nothing went wrong."""

    MODEL_NOT_INSTALLED = "model_not_installed"
    MODEL_NOT_REQUESTED = "model_not_requested"
    MODEL_PAUSED = "model_paused"
    NEEDED_STAGE_MISSING = "needed_stage_missing"
    NO_CALLBACK = "no_callback"
    VALIDATE_ONLY = "validate_only"


MODELS: tuple[StageName, ...] = (
    StageName.CT_CLIP,
    StageName.SUPERVISED,
    StageName.DIFFUSION,
    StageName.FVLM,
    StageName.MEDNEXT,
)
"""The five models whose answers the fusion weighs. Segmentation serves fVLM and gives no answer of its own."""

WEIGHTED_STAGES: tuple[StageName, ...] = (*MODELS, StageName.SEGMENTATION)
"""Stages that can run only where a model's weights are installed."""


@dataclass(frozen=True)
class StageDefinition:
    """What the runtime must know of a stage before anything runs.

    `needs` must have succeeded; `awaits` must only have ended, in whatever way.
    """

    name: StageName
    needs: tuple[StageName, ...]
    time_limit: timedelta
    awaits: tuple[StageName, ...] = ()

    @property
    def queue(self) -> str:
        """Name of the Celery queue, one per stage."""
        return f"ctclip.{self.name}"


STAGES: Mapping[StageName, StageDefinition] = {
    stage.name: stage
    for stage in (
        StageDefinition(StageName.INTAKE, (), timedelta(minutes=10)),
        StageDefinition(StageName.CT_CLIP, (StageName.INTAKE,), timedelta(minutes=10)),
        StageDefinition(StageName.SUPERVISED, (StageName.INTAKE,), timedelta(minutes=10)),
        StageDefinition(StageName.MEDNEXT, (StageName.INTAKE,), timedelta(minutes=10)),
        StageDefinition(StageName.DIFFUSION, (StageName.INTAKE,), timedelta(minutes=15)),
        StageDefinition(StageName.SEGMENTATION, (StageName.INTAKE,), timedelta(minutes=15)),
        StageDefinition(StageName.FVLM, (StageName.INTAKE, StageName.SEGMENTATION), timedelta(minutes=10)),
        StageDefinition(StageName.FUSION, (StageName.INTAKE,), timedelta(minutes=2), awaits=WEIGHTED_STAGES),
        StageDefinition(StageName.DELIVERY, (StageName.FUSION,), timedelta(minutes=2)),
    )
}


@dataclass(frozen=True)
class Transition:
    """A stage that the end of another one moves on."""

    stage: StageName
    state: StageState
    reason: SkipReason | None = None


def compute_transitions(states: Mapping[StageName, StageState]) -> tuple[Transition, ...]:
    """Return what the waiting stages become, given the state of every stage.

    A stage becomes ready when its needs succeeded and its awaited stages ended; it is skipped when a need
    ended in another way. Skips are followed through, so one call reaches the fixed point.
    """
    settled = dict(states)
    transitions: list[Transition] = []
    # STAGES is in topological order, so one pass is the fixed point.
    for stage in STAGES.values():
        transition = _compute_transition(stage, settled)
        if transition is not None:
            settled[stage.name] = transition.state
            transitions.append(transition)
    return tuple(transitions)


def _compute_transition(stage: StageDefinition, states: Mapping[StageName, StageState]) -> Transition | None:
    if states.get(stage.name) is not StageState.WAITING or stage.name is StageName.DELIVERY:
        return None  # delivery ends with its job, by what the job's end leaves to tell
    needs = [states[name] for name in stage.needs]
    if any(state.is_terminal and state is not StageState.SUCCEEDED for state in needs):
        return Transition(stage.name, StageState.SKIPPED, SkipReason.NEEDED_STAGE_MISSING)
    has_needs = all(state is StageState.SUCCEEDED for state in needs)
    if has_needs and all(states[name].is_terminal for name in stage.awaits):
        return Transition(stage.name, StageState.READY)
    return None
