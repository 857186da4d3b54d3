"""The MedNeXt stage: volume in, the probability of each class out."""

from __future__ import annotations

from shared.settings import Settings
from shared.stages import StageName
from workers.mednext.features import name_features
from workers.mednext.predictor import Predictor
from workers.model_stage import make_model_stage
from workers.runtime.stage import Stage


def make_stage(settings: Settings) -> Stage | None:
    """Return the stage, its model loaded, warm and checked; None when no MedNeXt model is installed."""
    return make_model_stage(settings, StageName.MEDNEXT, Predictor, name_features)
