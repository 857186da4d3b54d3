"""Batches for both networks: slices of training studies, moved a little, with noise of some time over them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from training.diffusion.examples import Example
from training.diffusion.plan import DiffusionPlan
from workers.diffusion.schedule import Schedule

_LARGEST_SHIFT = 2
_AIR = -1.0


@dataclass(frozen=True)
class Batch:
    """`noisy` and `noise` (b, 1, x, y); `times` and `labels` (b,)."""

    noisy: Tensor
    noise: Tensor
    times: Tensor
    labels: Tensor


class Slices:
    """The slices of training studies, healthy and pathological ones apart."""

    def __init__(self, examples: Sequence[Example], plan: DiffusionPlan) -> None:
        self._plan = plan
        levels = Schedule.make_linear(plan.architecture.process.diffusion_steps).levels
        self._levels = torch.from_numpy(levels).float()
        self._images = np.concatenate([example.images for example in examples])
        states = np.concatenate([example.states for example in examples])
        self._by_label = [np.flatnonzero(states == label) for label in (0, 1)]

    def draw_for_unet(self, rng: np.random.Generator, *, is_whole: bool) -> Batch:
        """Return slices, mostly healthy ones, or crops of them."""
        plan, size = self._plan, self._plan.unet_fitting.batch
        if is_whole:
            size //= 2
        labels = (rng.random(size) >= plan.healthy_share).astype(np.int64)
        images = self._draw_images(labels, rng)
        if not is_whole:
            images = np.stack([_crop(image, plan.crop, rng) for image in images])
        return self._add_noise(images, rng.integers(0, plan.last_time, size), labels, rng)

    def draw_late(self, rng: np.random.Generator) -> Batch:
        """Return whole healthy slices under much noise."""
        size = self._plan.late_fitting.batch
        labels = np.zeros(size, np.int64)
        images = self._draw_images(labels, rng)
        return self._add_noise(images, rng.integers(*self._plan.late_times, size), labels, rng)

    def measure_amplification(self, times: Tensor) -> Tensor:
        """Return how many times larger the square of an error is in the slice than in the noise (b, 1, 1, 1)."""
        levels = self._levels[times][:, None, None, None]
        return (1 - levels) / levels

    def _draw_images(self, labels: npt.NDArray[np.int64], rng: np.random.Generator) -> npt.NDArray[np.float32]:
        return self._take([rng.choice(self._by_label[label]) for label in labels.tolist()], rng)

    def _take(self, places: Sequence[int], rng: np.random.Generator) -> npt.NDArray[np.float32]:
        return np.stack([_shift(self._images[place], rng) for place in places]).astype(np.float32)

    def _add_noise(
        self,
        images: npt.NDArray[np.float32],
        times: npt.NDArray[np.int64],
        labels: npt.NDArray[np.int64],
        rng: np.random.Generator,
    ) -> Batch:
        clean = torch.from_numpy(images)[:, None]
        noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(int(rng.integers(2**62))))
        told = torch.from_numpy(times)
        levels = self._levels[told][:, None, None, None]
        noisy = levels.sqrt() * clean + (1 - levels).sqrt() * noise
        return Batch(noisy, noise, told, torch.from_numpy(labels))


class FindingSlices(Slices):
    """The slices of training studies, and which show which finding. Raises ValueError where none is seen."""

    def __init__(self, examples: Sequence[Example], plan: DiffusionPlan) -> None:
        super().__init__(examples, plan)
        self._groups = list(group_by_finding(examples).values())
        if not self._groups:
            raise ValueError("no training study shows a finding")

    def draw_for_classifier(self, rng: np.random.Generator) -> Batch:
        """Return as many healthy as pathological slices; a share of them clean, as the scores are made from.

        First a finding is drawn and then one of its slices, however many there are. A second cycle that showed small
        findings alone, and four times as often, was tried: calcium was still not seen.
        """
        plan, size = self._plan, self._plan.classifier_fitting.batch
        labels = np.arange(size) % 2
        times = rng.integers(0, plan.last_time, size) * (rng.random(size) >= plan.clean_share)
        images = self._draw_of_findings(labels, rng) * rng.uniform(0.95, 1.05, (size, 1, 1)).astype(np.float32)
        batch = self._add_noise(images, times, labels, rng)
        # A clean slice is as it is: time 0 of the process has a little noise already, and scores have none.
        clean = torch.from_numpy(images)[:, None]
        return Batch(torch.where((batch.times == 0)[:, None, None, None], clean, batch.noisy), *_rest(batch))

    def _draw_of_findings(self, labels: npt.NDArray[np.int64], rng: np.random.Generator) -> npt.NDArray[np.float32]:
        findings = rng.integers(len(self._groups), size=len(labels))
        pairs = zip(labels.tolist(), findings.tolist(), strict=True)
        groups = [self._groups[finding] if label else self._by_label[0] for label, finding in pairs]
        return self._take([rng.choice(group) for group in groups], rng)


def group_by_finding(examples: Sequence[Example]) -> dict[str, npt.NDArray[np.int64]]:
    """Return the places of the pathological slices in the height of each finding that has any, by its name in order.

    Places count through the slices of all examples. A slice in the height of two findings counts for both, though it
    may show the larger one only.
    """
    names = sorted({name for example in examples for name in example.findings})
    groups = {name: np.flatnonzero(np.concatenate([_show(example, name) for example in examples])) for name in names}
    return {name: places for name, places in groups.items() if len(places)}


def _show(example: Example, name: str) -> npt.NDArray[np.bool_]:
    if name not in example.findings:
        return np.zeros(len(example.images), bool)
    return np.asarray(example.spans[example.findings.index(name)] & (example.states == 1))


def _rest(batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
    return batch.noise, batch.times, batch.labels


def _shift(image: npt.NDArray[np.float16], rng: np.random.Generator) -> npt.NDArray[np.float16]:
    """Move an image (x, y) by whole pixels; air comes in. Never flipped: the heart is on the left."""
    x, y = rng.integers(0, 2 * _LARGEST_SHIFT + 1, 2).tolist()
    framed = np.pad(image, _LARGEST_SHIFT, constant_values=_AIR)
    return framed[x : x + image.shape[0], y : y + image.shape[1]]


def _crop(image: npt.NDArray[np.float32], size: int, rng: np.random.Generator) -> npt.NDArray[np.float32]:
    x, y = (int(rng.integers(0, length - size + 1)) for length in image.shape)
    return image[x : x + size, y : y + size]
