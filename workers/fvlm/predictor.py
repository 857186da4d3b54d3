"""A loaded fVLM: image side by digest, warm, checked against its known answer, and the latents of its sentences."""

from __future__ import annotations

import math
import time
from collections.abc import Hashable, Mapping, Sequence

import torch
from torch import Tensor

from model_weights.catalogue import ModelEntry
from shared.errors import InputProblem
from shared.json_values import JsonObject
from shared.problems import ProblemCode
from workers.device import ComputeMode
from workers.fvlm.configuration import Architecture, Preprocessing
from workers.fvlm.items import list_organs, load_items
from workers.fvlm.known_answer import require_known_answer
from workers.fvlm.loading import compile_blocks, load_image_side
from workers.fvlm.memory import predict_memory
from workers.fvlm.organs import Organ, merge_labels
from workers.fvlm.preprocess import Window, cut_windows, orient, prepare_study
from workers.fvlm.scoring import compute_logits, compute_probabilities
from workers.fvlm.text_latents import load_text_latents
from workers.label_roles import sort_labels
from workers.model_host.measuring import told_warm_up
from workers.model_host.memory import MemoryAmount
from workers.model_stage import Answer, Question
from workers.runtime.stage import StageWarning
from workers.volume import Volume
from workers.volume.label_map import Labels

_AS_STORED = ComputeMode()


class Predictor:
    """fVLM of one catalogue entry, ready to predict. Safe to use from several threads."""

    def __init__(self, entry: ModelEntry, device: torch.device, mode: ComputeMode = _AS_STORED) -> None:
        architecture = Architecture.from_table(entry.architecture)
        self._shape, self._geometry = architecture.image, Preprocessing.from_table(entry.preprocessing)
        self._geometry.require_fit(architecture.image)
        self._device, self._mode = device, mode
        self._items = load_items(entry)
        self._organs = list_organs(self._items)
        self._tower, temperature = load_image_side(entry, device)
        self._temperature = temperature.cpu()
        if mode.is_compiled:
            compile_blocks(self._tower)
        with told_warm_up(entry.stage):
            require_known_answer(entry, self._tower)
        if mode.needs_real_shape(device):
            self.encode(self._make_blank())
        self._texts = load_text_latents(entry, self._items)
        self._labels, self._roles = entry.labels, sort_labels(entry.stage, entry.labels)

    @property
    def preprocessing(self) -> Hashable:
        """What windows depend on beside volume and masks: geometry, patches and organs."""
        return (self._geometry, self._shape.patch_size, self._organs)

    def predict_memory(self, shape_zyx: tuple[int, int, int]) -> MemoryAmount:
        """Return the most that preparing and answering a volume of this shape takes beside the loaded model."""
        return predict_memory(self._shape, self._geometry, self._device, shape_zyx)

    def prepare_masked(self, volume: Volume, labels: Labels) -> Sequence[Window]:
        """Return the windows of the organs that are there, on the CPU; organs with the same window share it.

        Raises InputProblem where none of the organs that the items look at is there.
        """
        hu, organs, spacing_mm = orient(volume, merge_labels(labels, self._geometry.geometry))
        study = prepare_study(hu, organs, spacing_mm, self._geometry)
        windows = cut_windows(study, self._geometry, self._shape, self._organs)
        if not windows:
            raise InputProblem(ProblemCode.NO_LUNGS_FOUND, f"None of {', '.join(self._organs)} was found.")
        return windows

    def answer(self, prepared: Sequence[Window], _question: Question) -> Answer:
        """Return how probable each label is; NaN, and a warning, for those whose organ is missing."""
        latents: dict[Organ, Tensor] = {}
        told: list[JsonObject] = []
        for window in prepared:
            started = time.perf_counter()
            latents |= self.encode(window)
            told.append(_describe_window(window, time.perf_counter() - started))
        probabilities = self.score(latents)
        known = {
            label: value for label, value in zip(self._labels, probabilities, strict=True) if not math.isnan(value)
        }
        facts = {"geometry": str(self._geometry.geometry), "windows": told, **self._roles.describe_unfused(known)}
        return Answer(probabilities, (), facts, [*self._roles.list_warnings(), *self._list_missing(latents)])

    @torch.inference_mode()
    def encode(self, window: Window) -> dict[Organ, Tensor]:
        """Return the latents (dim_latent,) of the organs in one window, on the CPU in float32, from one pass."""
        masks = torch.stack([*window.token_masks.values()])
        kept = masks.any(dim=0)
        with self._mode.autocast(self._device):
            levels = self._tower.encoder(window.image.to(self._device), kept.to(self._device))[0]
        own = {organ: mask[kept].to(self._device) for organ, mask in window.token_masks.items()}
        found = self._tower.read_organs(levels.float(), own)
        return {organ: latent.cpu() for organ, latent in found.items()}

    def score(self, latents: Mapping[Organ, Tensor]) -> list[float]:
        """Return how probable each label of the entry is, from the latents of its organs; NaN where there is none."""
        found = []
        for row, item in enumerate(self._items):
            if item.organ in latents:
                logits = compute_logits(latents[item.organ], self._texts[2 * row : 2 * row + 2], self._temperature)
                found.append(float(compute_probabilities(logits)[0, 1]))
            else:
                found.append(math.nan)
        return found

    def _list_missing(self, latents: Mapping[Organ, Tensor]) -> list[StageWarning]:
        missing = [organ for organ in self._organs if organ not in latents]
        if not missing:
            return []
        findings = [item.finding for item in self._items if item.organ in missing]
        return [StageWarning("organs_missing", {"organs": [*map(str, missing)], "findings": findings})]

    def _make_blank(self) -> Window:
        """Return a window of the shape that studies have."""
        tokens = math.prod(self._shape.compute_grid(self._geometry.window))
        mask = torch.ones(tokens, dtype=torch.bool)
        return Window(torch.zeros(1, 1, *self._geometry.window), {self._organs[0]: mask})


def _describe_window(window: Window, seconds: float) -> JsonObject:
    """Return what one pass saw: how many tokens each organ takes of it, and how long it took."""
    return {
        "organs": {str(organ): int(mask.sum()) for organ, mask in window.token_masks.items()},
        "shape_zyx": list(window.image.shape[2:]),
        "tokens": len(next(iter(window.token_masks.values()))),
        "encode_s": seconds,
    }
