"""A loaded classifier: weights by digest, warm, and checked against its known answer before anyone may use it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from model_weights.catalogue import ModelEntry
from model_weights.loading import load_tensors
from shared.artefacts import ArtefactKind
from shared.errors import Defect
from workers.ct_clip.configuration import Preprocessing
from workers.ct_clip.evidence import RELEVANCE, Explainer, make_claims
from workers.ct_clip.image_tower import Encoding
from workers.ct_clip.known_answer import require_known_answer
from workers.ct_clip.loading import compile_layers
from workers.ct_clip.memory import predict_memory
from workers.ct_clip.preprocess import prepare
from workers.device import ComputeMode
from workers.label_roles import sort_labels
from workers.model_host.measuring import told_warm_up
from workers.model_host.memory import MemoryAmount
from workers.model_stage import Answer, Question
from workers.supervised.configuration import Architecture
from workers.supervised.loading import make_classifier
from workers.supervised.model import compute_probabilities
from workers.supervised.relevance import compute_directions
from workers.volume import Volume

_AS_STORED = ComputeMode()


class Predictor:
    """The classifier of one catalogue entry, ready to predict. Safe to use from several threads."""

    def __init__(self, entry: ModelEntry, device: torch.device, mode: ComputeMode = _AS_STORED) -> None:
        architecture = Architecture.from_table(entry.architecture)
        if architecture.num_classes != len(entry.labels):
            raise Defect(
                f"model {entry.name} has {architecture.num_classes} outputs, its entry names {len(entry.labels)}"
            )
        self.preprocessing = Preprocessing.from_table(entry.preprocessing)
        self.preprocessing.require_fit(architecture.ct_clip.image)
        self._device, self._mode = device, mode
        self._classifier = make_classifier(architecture, load_tensors(entry.get_file("weights"), device))
        if mode.is_compiled:
            compile_layers(self._classifier.image)
        with told_warm_up(entry.stage):
            require_known_answer(entry, self._classifier.image)
        if mode.needs_real_shape(device):
            self.encode(torch.zeros(1, architecture.ct_clip.image.channels, *self.preprocessing.shape))
        self._entry = entry
        self._roles = sort_labels(entry.stage, entry.labels)
        self.explainer = Explainer(entry, self._classifier.image, ArtefactKind.SUPERVISED_RELEVANCE)

    def predict_memory(self, shape_zyx: tuple[int, int, int]) -> MemoryAmount:
        """Return the most that preparing and answering a volume of this shape takes beside the loaded model."""
        return predict_memory(self._classifier.image.encoder.shape, self.preprocessing, self._device, shape_zyx)

    def prepare(self, volume: Volume) -> Tensor:
        """Return the network's input of one volume, on the CPU."""
        return prepare(volume, self.preprocessing)

    def answer(self, prepared: Tensor, question: Question) -> Answer:
        """Return how probable each label is in one prepared volume (1, c, z, x, y), and why."""
        encoding = self.encode(prepared)
        probabilities = self.score(encoding)[0].tolist()
        claims = make_claims(self._entry, probabilities)
        evidence = self.explainer.explain(encoding.codes[0], claims, self.direct, question)
        unfused = self._roles.describe_unfused(dict(zip(self._entry.labels, probabilities, strict=True)))
        facts = {RELEVANCE: evidence.facts, **unfused}
        return Answer(probabilities, [evidence.artefact], facts, self._roles.list_warnings())

    def predict(self, prepared: Tensor) -> Tensor:
        """Return how probable each label is (b, labels), on the CPU in float32, of prepared volumes (b, c, z, x, y)."""
        return self.score(self.encode(prepared))

    @torch.inference_mode()
    def encode(self, prepared: Tensor) -> Encoding:
        """Return codes and latents of prepared volumes (b, c, z, x, y), where the network is."""
        with self._mode.autocast(self._device):
            return self._classifier.image.encode(prepared.to(self._device))

    @torch.inference_mode()
    def score(self, encoding: Encoding) -> Tensor:
        """Return how probable each label is (b, labels), on the CPU in float32."""
        return compute_probabilities(self._classifier.classify(encoding.latents)).cpu()

    def direct(self, raw: Tensor, labels: Sequence[int]) -> Tensor:
        """Return directions (labels, d): each times `raw` (d,), a latent before its norm, is a logit but a constant."""
        return compute_directions(self._classifier, raw, labels)
