"""The CT-CLIP stage: volume in, the probability of each finding out."""

from __future__ import annotations

import os
import time

import torch

from model_weights.catalogue import ModelEntry, find_installed
from shared.artefacts import ArtefactKind
from shared.settings import Settings
from shared.stages import StageName
from workers.ct_clip.features import name_features
from workers.ct_clip.predictor import Predictor
from workers.ct_clip.preprocess import prepare
from workers.device import choose_device
from workers.runtime.model_run import describe_run
from workers.runtime.stage import Stage, StageContext, StageOutput
from workers.volume import VolumeFile

_PREPARED = 0.3
"""Share of the work that is done once the volume is prepared."""


class CTCLIPStage:
    """Runs one installed CT-CLIP on the volume of a job."""

    name = StageName.CT_CLIP

    def __init__(self, entry: ModelEntry, predictor: Predictor) -> None:
        self._entry = entry
        self._predictor = predictor

    def run(self, context: StageContext) -> StageOutput:
        """Return the features of the study. Raises StaleLease when the work is no longer wanted."""
        started = time.monotonic()
        volume = VolumeFile(context.fetch_artefact(ArtefactKind.VOLUME)).read()
        prepared = prepare(volume, self._predictor.preprocessing)
        prepared_at = time.monotonic()
        context.report(_PREPARED)
        probabilities = self._predictor.predict(prepared)[0].tolist()
        timings = {"prepare_s": prepared_at - started, "predict_s": time.monotonic() - prepared_at}
        return StageOutput(
            features=name_features(self._entry.labels, probabilities),
            facts=describe_run(self._entry, timings),
        )


def make_stage(settings: Settings) -> Stage | None:
    """Return the stage, its model loaded, warm and checked; None when no CT-CLIP is installed."""
    entry = find_installed(settings, StageName.CT_CLIP)
    if entry is None:
        return None
    torch.set_num_threads(settings.threads or os.cpu_count() or 1)
    return CTCLIPStage(entry, Predictor(entry, choose_device()))
