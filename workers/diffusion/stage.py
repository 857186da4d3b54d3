"""The diffusion stage: volume in, how unusual its slices are out, and where where the policy asks for it."""

from __future__ import annotations

from shared.settings import Settings
from shared.stages import StageName
from workers.diffusion.features import name_features
from workers.diffusion.predictor import Predictor
from workers.model_stage import make_model_stage
from workers.runtime.stage import Stage


def make_stage(settings: Settings) -> Stage | None:
    """Return the stage, its classifier loaded, warm and checked; None when no detector is installed."""
    return make_model_stage(settings, StageName.DIFFUSION, Predictor, name_features)
