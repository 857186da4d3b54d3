"""A loaded segmentation network: weights by digest, warm, checked, and asked for the labels of a whole volume.

The precision is the command line's, whatever `CTCLIP_PRECISION` says of the models that are fused: float32 on a CPU,
float16 where the network profits from it on a GPU, sums of windows in float16 on both.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch
from nnunetv2.preprocessing.normalization.default_normalization_schemes import CTNormalization
from torch import Tensor

from model_weights.catalogue import ModelEntry
from model_weights.loading import load_tensors
from shared.errors import Defect
from workers.model_host.measuring import told_warm_up
from workers.model_host.memory import MemoryAmount
from workers.segmentation.configuration import Architecture, Preprocessing
from workers.segmentation.known_answer import KnownAnswer
from workers.segmentation.labels import TOTAL_NAMES
from workers.segmentation.memory import predict_memory
from workers.segmentation.network import make_network
from workers.segmentation.silent import drop_silent
from workers.segmentation.sliding_window import Report, Sliding, predict_labels
from workers.volume.label_map import Labels

STEP = 0.8
"""Step of the window as a share of its size: TotalSegmentator 2.18.0 takes this for `total`, not nnU-Net's 0.5."""

CLASSES = len(TOTAL_NAMES) + 1
"""The labels of `total` and the background."""

Coarse = npt.NDArray[np.int32]
"""HU at the network's spacing, (z, y, x)."""


class Predictor:
    """The segmentation of one catalogue entry, ready to label. Safe to use from several threads."""

    def __init__(self, entry: ModelEntry, device: torch.device) -> None:
        if entry.labels != TOTAL_NAMES:
            raise Defect(
                f"model {entry.name}: its labels are not the {len(TOTAL_NAMES)} names of TotalSegmentator's total"
            )
        self._architecture = Architecture.from_table(entry.architecture)
        self._preprocessing = Preprocessing.from_table(entry.preprocessing)
        self._device = device
        self._network = make_network(self._architecture, CLASSES, load_tensors(entry.get_file("weights"), device))
        known = KnownAnswer(load_tensors(entry.get_file("known_answer")))
        with told_warm_up(entry.stage):
            known.require_given(entry, self._run(known.question.to(device)).cpu(), is_exact=device.type == "cpu")
        self._numbers = np.asarray(drop_silent(self._network), np.uint8)

    def predict_memory(self, shape_zyx: tuple[int, int, int]) -> MemoryAmount:
        """Return the most that labelling a volume of this shape takes beside the loaded network."""
        return predict_memory(self._architecture, len(self._numbers), shape_zyx, self._device)

    def label(self, coarse: Coarse, report: Report) -> Labels:
        """Return the label of each voxel of a volume at the network's spacing. `report` is told which share is done."""
        labels = np.zeros(coarse.shape, dtype=np.uint8)
        inner = find_inner(coarse)
        labels[inner] = self._label_inner(coarse[inner], report)
        return labels

    def _label_inner(self, coarse: Coarse, report: Report) -> Labels:
        prepared = torch.from_numpy(normalise(coarse, self._preprocessing))[None].to(self._device)
        sliding = Sliding(self._architecture.patch_size, STEP)
        with torch.inference_mode():
            outputs = predict_labels(self._run, prepared, sliding, len(self._numbers), report).numpy()
        labels: Labels = self._numbers[outputs]
        return labels

    @torch.inference_mode()
    def _run(self, window: Tensor) -> Tensor:
        with torch.autocast(self._device.type, enabled=self._device.type != "cpu"):
            logits: Tensor = self._network(window)
        return logits


def find_inner(coarse: Coarse) -> tuple[slice, slice, slice]:
    """Return the box outside of which every voxel is exactly 0; nnU-Net looks at no other. All where there is none."""
    is_filled = coarse != 0
    z, y, x = (_find_span(is_filled.any(axis=others)) for others in ((1, 2), (0, 2), (0, 1)))
    return (z, y, x)


def _find_span(flags: npt.NDArray[np.bool_]) -> slice:
    places = np.flatnonzero(flags)
    return slice(int(places[0]), int(places[-1]) + 1) if len(places) else slice(0, len(flags))


def normalise(coarse: Coarse, preprocessing: Preprocessing) -> npt.NDArray[np.float32]:
    """Return the network's input, by nnU-Net's own class for CT."""
    low, high = preprocessing.clip_hu
    properties = {
        "mean": preprocessing.mean_hu,
        "std": preprocessing.std_hu,
        "percentile_00_5": low,
        "percentile_99_5": high,
    }
    scheme: Callable[[npt.NDArray[np.float32]], npt.NDArray[np.float32]]
    scheme = CTNormalization(use_mask_for_norm=False, intensityproperties=properties).run
    return scheme(coarse.astype(np.float32))
