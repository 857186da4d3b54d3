"""A loaded detector: the slice classifier by digest, warm, and checked; the noise predictor when it is first needed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType

import torch
from torch import Tensor

from model_weights.catalogue import ModelEntry
from model_weights.loading import load_tensors
from model_weights.policies import read_reconstruction
from shared.errors import Defect
from shared.json_values import JsonObject
from shared.precision import Precision
from workers.ct_clip.configuration import Preprocessing as VolumePreprocessing
from workers.ct_clip.preprocess import prepare
from workers.device import ComputeMode
from workers.diffusion.configuration import Architecture, Preprocessing
from workers.diffusion.evidence import UNET_ROLE, Reconstructor, Suspect
from workers.diffusion.features import LABELS, summarise
from workers.diffusion.known_answer import answer_as_classifier, choose_tolerance, require_known_answer
from workers.diffusion.loading import make_classifier
from workers.diffusion.memory import Batches, predict_memory
from workers.diffusion.scoring import describe_scores, score_slices
from workers.diffusion.slice_grid import make_slice_grid
from workers.diffusion.slices import take_slices
from workers.model_host.measuring import told_warm_up
from workers.model_host.memory import MemoryAmount
from workers.model_stage import Answer, Question
from workers.volume import Volume

_AS_STORED = ComputeMode()
_GPU_BATCH = 16

CPU_BATCHES: Mapping[Precision, int] = MappingProxyType({Precision.FP32: 4, Precision.BF16: 8})
"""With fewer slices the deep, small images leave processors idle; with more the wide ones fall out of their cache.

In bfloat16 twice as many fit (`benchmarks.diffusion`).
"""


class Predictor:
    """The detector of one catalogue entry, ready to answer. Safe to use from several threads."""

    def __init__(self, entry: ModelEntry, device: torch.device, mode: ComputeMode = _AS_STORED) -> None:
        if entry.labels != LABELS:
            raise Defect(f"model {entry.name}: its entry names {list(entry.labels)}, expected {list(LABELS)}")
        self._shapes = Architecture.from_table(entry.architecture)
        self._slicing = Preprocessing.from_table(entry.preprocessing)
        self._slicing.require_fit(self._shapes)
        self._entry, self._device, self._mode = entry, device, mode
        self._batch = CPU_BATCHES[mode.precision] if device.type == "cpu" else _GPU_BATCH
        self._unet_batch = CPU_BATCHES[Precision.FP32] if device.type == "cpu" else _GPU_BATCH
        tensors = load_tensors(entry.get_file("weights"), device)
        self._classifier = make_classifier(self._shapes.classifier, tensors)
        with told_warm_up(entry.stage), mode.autocast(device):
            require_known_answer(entry, "logits", answer_as_classifier(self._classifier), choose_tolerance(mode))
        self._reconstructor = Reconstructor(entry, self._classifier, device, batch=self._unet_batch)

    @property
    def preprocessing(self) -> VolumePreprocessing:
        """What `prepare` does: CT-CLIP's preprocessing, so that both share a prepared volume where theirs are equal."""
        return self._slicing.volume

    def predict_memory(self, shape_zyx: tuple[int, int, int]) -> MemoryAmount:
        """Return the most that preparing and answering a volume of this shape takes beside the loaded model."""
        unet = self._entry.files.get(UNET_ROLE)
        unet_bytes = 0 if unet is None else unet.size_bytes
        batches = Batches(self._batch, self._unet_batch)
        return predict_memory(
            self._shapes, self._slicing, shape_zyx, self._device, batches=batches, unet_bytes=unet_bytes
        )

    def prepare(self, volume: Volume) -> Tensor:
        """Return the prepared volume (1, 1, slice, x, y), on the CPU."""
        return prepare(volume, self.preprocessing)

    def answer(self, prepared: Tensor, question: Question) -> Answer:
        """Return the statistics of one prepared volume, and of its reconstruction where the policy wants one."""
        probabilities = self.score(prepared)
        numbers = self._slicing.list_slices()
        grid = make_slice_grid(question.geometry, question.shape_zyx, self._slicing)
        suspect = Suspect(prepared[0, 0], dict(zip(numbers, probabilities.tolist(), strict=True)), grid)
        evidence = self._reconstructor.explain(suspect, read_reconstruction(question.policy), question)
        facts: JsonObject = {
            "slices": describe_scores(numbers, probabilities, grid),
            "reconstruction": evidence.facts,
        }
        statistics = (*summarise(probabilities), *evidence.statistics)
        return Answer(statistics, evidence.artefacts, facts, evidence.warnings, evidence.render)

    def predict(self, prepared: Tensor) -> Tensor:
        """Return the scores of the slices (1, n) of one prepared volume."""
        return self.score(prepared)[None]

    def score(self, prepared: Tensor) -> Tensor:
        """Return how probable a pathology is in each slice of the range (n,), of a prepared volume (1, 1, z, x, y)."""
        with self._mode.autocast(self._device):
            pathological = self._shapes.process.pathological_class
            return score_slices(self._classifier, self._iterate_batches(prepared), pathological_class=pathological)

    def _iterate_batches(self, prepared: Tensor) -> Iterator[Tensor]:
        numbers = self._slicing.list_slices()
        for start in range(0, len(numbers), self._batch):
            yield take_slices(prepared[0, 0], numbers[start : start + self._batch], self._slicing.slice_size)
