"""The models of one catalogue, asked by the code that serves them, without a platform around them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory

from model_weights.catalogue import ModelEntry
from shared.errors import Defect, InputProblem
from shared.stages import StageName
from training.evaluation.weights import WeightSet, find_policy
from workers.device import choose_device
from workers.model_stage import AnyModel, MaskedModel, NameFeatures, Question
from workers.runtime.registry import STAGE_MODULES
from workers.segmentation.grid import NetworkGrid
from workers.segmentation.predictor import Predictor
from workers.volume import Volume
from workers.volume.label_map import Labels


@dataclass(frozen=True)
class AskedModel:
    """A loaded model with the names of what it gives."""

    entry: ModelEntry
    model: AnyModel
    name_features: NameFeatures

    def ask(self, volume: Volume, label: Callable[[], Labels]) -> Mapping[str, float]:
        """Return the features that a job would keep: none where the model refuses the study, none that is unknown."""
        try:
            features = self._ask(volume, label)
        except InputProblem:
            return {}
        return {name: value for name, value in features.items() if not math.isnan(value)}

    def _ask(self, volume: Volume, label: Callable[[], Labels]) -> Mapping[str, float]:
        depth, height, width = volume.hu.shape
        if isinstance(self.model, MaskedModel):
            prepared = self.model.prepare_masked(volume, label())
        else:
            prepared = self.model.prepare(volume)
        with TemporaryDirectory(prefix="ctclip-") as scratch:
            question = Question(volume.geometry, (depth, height, width), find_policy().to_document(), Path(scratch))
            answer = self.model.answer(prepared, question)
        return self.name_features(self.entry.labels, answer.probabilities)


@cache
def load_models(weights: WeightSet) -> Sequence[AskedModel]:
    """Return the models, loaded once for each process."""
    return [_load_model(entry) for entry in weights.models]


def label_organs(volume: Volume, weights: WeightSet) -> Labels:
    """Return the labels (z, y, x) of a volume. Raises Defect where no segmentation is installed."""
    predictor, grid = _load_segmenter(weights), NetworkGrid(volume.geometry)
    depth, height, width = volume.hu.shape
    return grid.refine(predictor.label(grid.coarsen(volume.hu), lambda _share: None), (depth, height, width))


def _load_model(entry: ModelEntry) -> AskedModel:
    """Load a model as its stage does: every model package has a `Predictor` and names its features."""
    package = STAGE_MODULES[entry.stage].rpartition(".")[0]
    load = import_module(f"{package}.predictor").Predictor
    return AskedModel(entry, load(entry, choose_device()), import_module(f"{package}.features").name_features)


@cache
def _load_segmenter(weights: WeightSet) -> Predictor:
    entry = weights.find(StageName.SEGMENTATION)
    if entry is None:
        raise Defect("the catalogue has no segmentation, and a model asks for its masks")
    return Predictor(entry, choose_device())
