"""The fVLM stage: volume and masks in, the probability of each finding of each organ out.

It runs in float32 whatever `CTCLIP_PRECISION` says: nobody measured yet what less would change, and what is known of
such networks is no gain on a CPU and probabilities that are off by up to 0.02 for some weights.
"""

from __future__ import annotations

from shared.precision import PrecisionChoice
from shared.settings import Settings
from shared.stages import StageName
from workers.fvlm.features import name_features
from workers.fvlm.predictor import Predictor
from workers.model_stage import make_model_stage
from workers.runtime.stage import Stage


def make_stage(settings: Settings) -> Stage | None:
    """Return the stage, its model loaded, warm and checked; None when no fVLM is installed."""
    exact = settings.model_copy(update={"precision": PrecisionChoice.FP32})
    return make_model_stage(exact, StageName.FVLM, Predictor, name_features)
