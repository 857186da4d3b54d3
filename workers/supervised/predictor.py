"""A loaded classifier: weights by digest, warm, and checked against its known answer before anyone may use it."""

from __future__ import annotations

import torch
from torch import Tensor

from model_weights.catalogue import ModelEntry
from model_weights.loading import load_tensors
from shared.errors import Defect
from workers.ct_clip.configuration import Preprocessing
from workers.ct_clip.known_answer import require_known_answer
from workers.ct_clip.preprocess import prepare
from workers.supervised.configuration import Architecture
from workers.supervised.loading import make_classifier
from workers.supervised.model import compute_probabilities
from workers.volume import Volume


class Predictor:
    """The classifier of one catalogue entry, ready to predict. Safe to use from several threads."""

    def __init__(self, entry: ModelEntry, device: torch.device) -> None:
        architecture = Architecture.from_table(entry.architecture)
        if architecture.num_classes != len(entry.labels):
            raise Defect(
                f"model {entry.name} has {architecture.num_classes} outputs, its entry names {len(entry.labels)}"
            )
        self.preprocessing = Preprocessing.from_table(entry.preprocessing)
        self.preprocessing.require_fit(architecture.ct_clip.image)
        self._device = device
        self._classifier = make_classifier(architecture, load_tensors(entry.get_file("weights"), device))
        require_known_answer(entry, self._classifier.image)

    def prepare(self, volume: Volume) -> Tensor:
        """Return the network's input of one volume, on the CPU."""
        return prepare(volume, self.preprocessing)

    @torch.inference_mode()
    def predict(self, volume: Tensor) -> Tensor:
        """Return how probable each label is (b, labels), on the CPU in float32, of prepared volumes (b, c, z, x, y)."""
        return compute_probabilities(self._classifier(volume.to(self._device))).cpu()
