"""The CT-CLIP stage: volume in, the probability of each finding that was asked for out."""

from __future__ import annotations

from functools import partial

from shared.settings import Settings
from shared.stages import StageName
from workers.ct_clip.features import name_features
from workers.ct_clip.predictor import Predictor
from workers.ct_clip.text_latents import ROLE
from workers.model_stage import make_model_stage
from workers.runtime.stage import Stage


def make_stage(settings: Settings) -> Stage | None:
    """Return the stage, its model loaded, warm and checked; None when no CT-CLIP model is installed."""
    load = partial(Predictor, latents_folder=settings.cache_dir / ROLE)
    return make_model_stage(settings, StageName.CT_CLIP, load, name_features)
