"""The organs of a phantom as the installed demo segmenter finds them, through the code of its stage."""

from __future__ import annotations

from pathlib import Path

import torch

from model_weights.catalogue import ModelEntry, load_catalogue
from shared.settings import WeightsProfile
from shared.stages import StageName
from training.fvlm.evaluation import Segment
from workers.fvlm.organs import LabelMap
from workers.segmentation.grid import NetworkGrid
from workers.segmentation.predictor import Predictor
from workers.volume import Volume


def make_segment(catalogue: Path) -> Segment | None:
    """Return the demo segmenter of a catalogue; None where it has none."""
    entry = _find_segmenter(catalogue)
    if entry is None:
        return None
    predictor = Predictor(entry, torch.device("cpu"))

    def segment(volume: Volume) -> LabelMap:
        grid = NetworkGrid(volume.geometry)
        labels = predictor.label(grid.coarsen(volume.hu), lambda _share: None)
        return grid.refine(labels, volume.hu.shape)

    return segment


def _find_segmenter(catalogue: Path) -> ModelEntry | None:
    if not catalogue.exists():
        return None
    for entry in load_catalogue(catalogue):
        if entry.stage is StageName.SEGMENTATION and entry.weights_profile is WeightsProfile.DEMO:
            return entry
    return None
