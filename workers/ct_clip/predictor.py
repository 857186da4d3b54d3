"""A loaded CT-CLIP: image side by digest, warm, checked against its known answer, and the latents of its labels."""

from __future__ import annotations

import torch
from torch import Tensor

from model_weights.catalogue import ModelEntry
from model_weights.loading import load_tensors
from shared.errors import Defect
from workers.ct_clip.configuration import Architecture, Preprocessing
from workers.ct_clip.image_tower import Encoding
from workers.ct_clip.known_answer import require_known_answer
from workers.ct_clip.loading import compile_layers, make_image_tower
from workers.ct_clip.memory import predict_memory
from workers.ct_clip.preprocess import prepare
from workers.ct_clip.text_latents import load_text_latents
from workers.device import ComputeMode
from workers.model_host.memory import MemoryAmount
from workers.model_stage import Answer, Question
from workers.volume import Volume

_TEMPERATURE = "temperature"
_AS_STORED = ComputeMode()


class Predictor:
    """CT-CLIP of one catalogue entry, ready to predict. Safe to use from several threads."""

    def __init__(self, entry: ModelEntry, device: torch.device, mode: ComputeMode = _AS_STORED) -> None:
        architecture = Architecture.from_table(entry.architecture)
        self.preprocessing = Preprocessing.from_table(entry.preprocessing)
        self.preprocessing.require_fit(architecture.image)
        self._device, self._mode = device, mode
        tensors = load_tensors(entry.get_file("weights"), device)
        if _TEMPERATURE not in tensors:
            raise Defect(f"the weights do not fit the architecture of CT-CLIP; 1 missing: {_TEMPERATURE}")
        self._tower = make_image_tower(architecture, tensors)
        if mode.is_compiled:
            compile_layers(self._tower)
        require_known_answer(entry, self._tower)
        if mode.needs_real_shape(device):
            self.encode(torch.zeros(1, architecture.image.channels, *self.preprocessing.shape))
        self._axes = _make_axes(load_text_latents(entry).to(device), tensors[_TEMPERATURE])

    def predict_memory(self, shape_zyx: tuple[int, int, int]) -> MemoryAmount:
        """Return the most that preparing and answering a volume of this shape takes beside the loaded model."""
        return predict_memory(self._tower.encoder.shape, self.preprocessing, self._device, shape_zyx)

    def prepare(self, volume: Volume) -> Tensor:
        """Return the network's input of one volume, on the CPU."""
        return prepare(volume, self.preprocessing)

    def answer(self, prepared: Tensor, _question: Question) -> Answer:
        """Return how probable each label is in one prepared volume (1, c, z, x, y), which is encoded once."""
        encoding = self.encode(prepared)
        return Answer(self.score(encoding)[0].tolist())

    def predict(self, prepared: Tensor) -> Tensor:
        """Return how probable each label is (b, labels), on the CPU in float32, of prepared volumes (b, c, z, x, y)."""
        return self.score(self.encode(prepared))

    @torch.inference_mode()
    def encode(self, prepared: Tensor) -> Encoding:
        """Return codes and latents of prepared volumes (b, c, z, x, y), where the network is."""
        with self._mode.autocast(self._device):
            return self._tower.encode(prepared.to(self._device))

    @torch.inference_mode()
    def score(self, encoding: Encoding) -> Tensor:
        """Return how probable each label of the entry is (b, labels), on the CPU in float32."""
        return (encoding.latents @ self._axes.t()).float().sigmoid().cpu()


def _make_axes(text_latents: Tensor, temperature: Tensor) -> Tensor:
    """Return one direction for each label (labels, d): the softmax over its two prompts is the sigmoid along it."""
    return temperature.exp() * (text_latents[0::2] - text_latents[1::2])
