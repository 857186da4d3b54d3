"""The fVLM stage: volume and masks in, the probability of each finding of each organ out."""

from __future__ import annotations

from shared.settings import Settings
from shared.stages import StageName
from workers.fvlm.features import name_features
from workers.fvlm.predictor import Predictor
from workers.model_stage import make_model_stage
from workers.runtime.stage import Stage


def make_stage(settings: Settings) -> Stage | None:
    """Return the stage, its model loaded, warm and checked; None when no fVLM is installed."""
    return make_model_stage(settings, StageName.FVLM, Predictor, name_features)
