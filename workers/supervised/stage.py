"""The supervised stage: volume in, the probability of each label out."""

from __future__ import annotations

from shared.settings import Settings
from shared.stages import StageName
from workers.model_stage import make_model_stage
from workers.runtime.stage import Stage
from workers.supervised.features import name_features
from workers.supervised.predictor import Predictor


def make_stage(settings: Settings) -> Stage | None:
    """Return the stage, its model loaded, warm and checked; None when no supervised model is installed."""
    return make_model_stage(settings, StageName.SUPERVISED, Predictor, name_features)
