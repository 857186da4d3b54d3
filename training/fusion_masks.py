"""Masks of phantoms by the installed demo segmentation: what a model that reads masks is given in the product too."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import torch

from model_weights.catalogue import ModelEntry, load_catalogue
from shared.settings import WeightsProfile
from shared.stages import STAGES, StageName
from workers.segmentation.grid import NetworkGrid
from workers.segmentation.predictor import Predictor
from workers.volume import Volume
from workers.volume.label_map import Labels


def find_segmenter(catalogue: Path) -> ModelEntry | None:
    """Return the demo segmentation of a catalogue, or None."""
    demo = (entry for entry in load_catalogue(catalogue) if entry.weights_profile is WeightsProfile.DEMO)
    return next((entry for entry in demo if entry.stage is StageName.SEGMENTATION), None)


def reads_masks(model: ModelEntry) -> bool:
    """Whether the stage of a model needs the segmentation."""
    return StageName.SEGMENTATION in STAGES[model.stage].needs


def label_organs(volume: Volume, catalogue: Path) -> Labels:
    """Return the labels (z, y, x) of a volume. Raises LookupError where no segmentation is installed."""
    predictor, grid = _load(catalogue), NetworkGrid(volume.geometry)
    depth, height, width = volume.hu.shape
    return grid.refine(predictor.label(grid.coarsen(volume.hu), lambda _share: None), (depth, height, width))


@cache
def _load(catalogue: Path) -> Predictor:
    entry = find_segmenter(catalogue)
    if entry is None:
        raise LookupError("the catalogue has no demo segmentation: train one with `python -m training.segmentation`")
    return Predictor(entry, torch.device("cpu"))
