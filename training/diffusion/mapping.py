"""Maps of chosen slices, by the code that the stage runs, and by the plain baseline."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from model_weights.policies.reconstruction import ReconstructionOptions
from training.diffusion.examples import Example
from workers.diffusion.classifier import SliceClassifier
from workers.diffusion.configuration import Architecture, ProcessShape
from workers.diffusion.plan import plan_steps
from workers.diffusion.process import Process
from workers.diffusion.reconstruction import reconstruct
from workers.diffusion.unet import UNet

HU = 1000.0
LEAST_PIXELS = 8
"""A slice shows a lesion where the findings changed so many pixels."""

_SEED = 0
_TOGETHER = 2

Maps = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Targets:
    """Slices (n, x, y) with a lesion, what it changed in each, and of which study and number each is."""

    images: Maps
    lesions: npt.NDArray[np.bool_]
    numbers: npt.NDArray[np.int64]
    studies: npt.NDArray[np.int64]


@dataclass(frozen=True)
class Candidate:
    """One way to reconstruct: from noise drawn over the slice so many times, or, with none, from the encoded slice."""

    draws: int
    noise_level: int
    classifier_scale: float
    steps: int

    def settle(self, shape: ProcessShape) -> ProcessShape:
        """Return a process that does this."""
        return replace(
            shape,
            noise_level=self.noise_level,
            classifier_scale=self.classifier_scale,
            steps=self.steps,
            is_encoded=not self.draws,
            draws=max(self.draws, 1),
        )

    def __str__(self) -> str:
        start = f"noise drawn {self.draws} x" if self.draws else "encoded"
        return f"{start}, level {self.noise_level}, scale {self.classifier_scale:g}, {self.steps} steps"


class Mapper:
    """Both networks, and maps already made by them, kept in a folder."""

    def __init__(self, unet: UNet, classifier: SliceClassifier, architecture: Architecture, folder: Path) -> None:
        self._unet, self._classifier, self._shapes = unet, classifier, architecture
        self._folder = folder / _compute_digest(unet, classifier)
        self._folder.mkdir(parents=True, exist_ok=True)

    def make_maps(self, candidate: Candidate, targets: Targets) -> Maps:
        """Return differences (n, x, y) in HU."""
        path = self._folder / f"{_name(candidate, targets)}.npy"
        if path.exists():
            return np.asarray(np.load(path, allow_pickle=False), np.float32)
        maps = self._reconstruct(candidate, targets)
        draft = path.with_suffix(f".{os.getpid()}.npy")
        np.save(draft, maps)
        draft.replace(path)
        return maps

    def _reconstruct(self, candidate: Candidate, targets: Targets) -> Maps:
        shape = candidate.settle(self._shapes.process)
        process = Process(self._unet, self._classifier, shape)
        plan = plan_steps(
            ReconstructionOptions(), process.schedule, shape, steps=candidate.steps, slices=len(targets.images)
        )
        images = torch.from_numpy(targets.images)[:, None]
        maps = reconstruct(process, images, plan, seed=_SEED, batch=_TOGETHER)
        return np.asarray(maps[:, 0].numpy() * HU, np.float32)


class MeanSlice:
    """The plain baseline: how far a slice is from the mean of healthy training slices of the same number.

    The preprocessing aligns both: the same pixels and slices, counted from the middle of the scan.
    """

    def __init__(self, examples: Sequence[Example], depth: int) -> None:
        size = examples[0].images.shape[1:]
        sums, counts = np.zeros((depth, *size)), np.zeros(depth)
        for example in examples:
            is_healthy = example.states == 0
            np.add.at(sums, example.numbers[is_healthy], example.images[is_healthy].astype(np.float64))
            np.add.at(counts, example.numbers[is_healthy], 1)
        known = np.flatnonzero(counts)
        # Where no healthy slice of a number was seen, that of the nearest number stands in.
        nearest = known[np.abs(np.arange(depth)[:, None] - known).argmin(axis=1)]
        self._means = (sums[nearest] / counts[nearest, None, None]).astype(np.float32)

    def make_maps(self, targets: Targets) -> Maps:
        """Return differences (n, x, y) in HU."""
        return np.asarray(np.abs(targets.images - self._means[targets.numbers]) * HU, np.float32)


def choose_targets(examples: Sequence[Example], most: int) -> Targets:
    """Return at most `most` slices of each study with lesions, evenly over those that show one."""
    images, lesions, numbers, studies = [], [], [], []
    for example in examples:
        assert example.lesions is not None
        shown = np.flatnonzero(example.lesions.sum(axis=(1, 2)) >= LEAST_PIXELS)
        chosen = shown[np.unique(np.linspace(0, len(shown) - 1, most + 2)[1:-1].astype(int))] if len(shown) else shown
        images.append(example.images[chosen].astype(np.float32))
        lesions.append(example.lesions[chosen])
        numbers.append(example.numbers[chosen])
        studies.append(np.full(len(chosen), example.seed))
    return Targets(*(np.concatenate(each) for each in (images, lesions, numbers, studies)))


def _name(candidate: Candidate, targets: Targets) -> str:
    digest = hashlib.sha256(targets.images.tobytes()).hexdigest()[:8]
    return f"{digest}-{candidate.draws}-{candidate.noise_level}-{candidate.classifier_scale:g}-{candidate.steps}"


def _compute_digest(unet: UNet, classifier: SliceClassifier) -> str:
    digest = hashlib.sha256()
    for network in (unet, classifier):
        for tensor in network.state_dict().values():
            digest.update(tensor.numpy().tobytes())
    return digest.hexdigest()[:12]
