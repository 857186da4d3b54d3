"""A loaded MedNeXt: weights by digest, warm, and checked against its known answer before anyone may use it."""

from __future__ import annotations

import torch
from torch import Tensor

from model_weights.catalogue import ModelEntry
from model_weights.loading import load_tensors
from shared.errors import Defect
from shared.precision import Precision
from workers.device import ComputeMode
from workers.label_roles import sort_labels
from workers.mednext.configuration import Architecture, Preprocessing
from workers.mednext.memory import predict_memory
from workers.mednext.model import MedNeXt
from workers.mednext.preprocess import prepare
from workers.mednext.streaming import predict_logits
from workers.mednext.weights import make_model
from workers.model_host.measuring import told_warm_up
from workers.model_host.memory import MemoryAmount
from workers.model_stage import Answer, Question
from workers.volume import Volume

CPU_TOLERANCE = 1e-4
"""Largest difference of a probability from its known answer in float32; other processors round differently."""

HALF_TOLERANCE = 1e-2
"""The same for float16, in which a GPU runs, and for bfloat16."""

_AS_STORED = ComputeMode()


class Predictor:
    """MedNeXt of one catalogue entry, ready to predict. Safe to use from several threads."""

    def __init__(self, entry: ModelEntry, device: torch.device, mode: ComputeMode = _AS_STORED) -> None:
        self.preprocessing = Preprocessing.from_table(entry.preprocessing)
        self._device, self._mode = device, mode
        # Streaming beats what a compiler makes of the network as written.
        self._is_streamed = device.type == "cpu" and mode.precision is Precision.FP32
        self._labels, self._roles = entry.labels, sort_labels(entry.stage, entry.labels)
        self._model = _load_model(entry, device)
        if mode.is_compiled and not self._is_streamed:
            self._model.compile(dynamic=False)
        with told_warm_up(entry.stage):
            self._check_known_answer(entry)
        if mode.needs_real_shape(device) and not self._is_streamed:
            self.predict(torch.zeros(1, 1, *self.preprocessing.roi_xyz))

    def predict_memory(self, shape_zyx: tuple[int, int, int]) -> MemoryAmount:
        """Return the most that preparing and answering a volume of this shape takes beside the loaded model."""
        return predict_memory(
            self._model.architecture, self.preprocessing, shape_zyx, self._device, is_streamed=self._is_streamed
        )

    def prepare(self, volume: Volume) -> Tensor:
        """Return the network's input of one volume, on the CPU."""
        return prepare(volume, self.preprocessing)

    def answer(self, prepared: Tensor, _question: Question) -> Answer:
        """Return how probable each class is in one prepared volume (1, 1, x, y, z)."""
        probabilities = self.predict(prepared)[0].tolist()
        unfused = self._roles.describe_unfused(dict(zip(self._labels, probabilities, strict=True)))
        return Answer(probabilities, (), unfused, self._roles.list_warnings())

    def predict(self, volume: Tensor) -> Tensor:
        """Return probabilities (b, classes) of prepared volumes (b, 1, x, y, z), on the CPU in float32."""
        return self._model.activate(self._compute_logits(volume.to(self._device))).cpu()

    def _compute_logits(self, volume: Tensor) -> Tensor:
        if self._is_streamed:
            return predict_logits(self._model, volume)
        with torch.inference_mode(), self._autocast():
            logits: Tensor = self._model(volume.contiguous(memory_format=torch.channels_last_3d))
        return logits.float()

    def _autocast(self) -> torch.autocast:
        if self._device.type == "cpu" or self._mode.precision is Precision.BF16:
            return self._mode.autocast(self._device)
        return torch.autocast(self._device.type, torch.float16)  # as the reference runs

    def _check_known_answer(self, entry: ModelEntry) -> None:
        """Warm the model up with the stored question. Raises Defect when it gives another answer."""
        known = load_tensors(entry.get_file("known_answer"))
        found = self.predict(known["input"].float())
        error = float((found - known["probabilities"]).abs().max())
        is_exact = self._device.type == "cpu" and self._mode.precision is Precision.FP32
        tolerance = CPU_TOLERANCE if is_exact else HALF_TOLERANCE
        if not error <= tolerance:
            raise Defect(
                f"model {entry.name} gives another answer than its known one: a probability is off by {error:.2g},"
                f" tolerated are {tolerance:.2g}",
                digest=entry.digest,
            )


def _load_model(entry: ModelEntry, device: torch.device) -> MedNeXt:
    architecture = Architecture.from_table(entry.architecture)
    if architecture.num_classes != len(entry.labels):
        raise Defect(
            f"model {entry.name} has {architecture.num_classes} outputs, its catalogue entry names {len(entry.labels)}"
        )
    return make_model(architecture, load_tensors(entry.get_file("weights"), device))
