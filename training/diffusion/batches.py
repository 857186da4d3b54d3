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
    """The slices of the training studies, healthy and pathological ones apart."""

    def __init__(self, examples: Sequence[Example], plan: DiffusionPlan) -> None:
        self._plan = plan
        levels = Schedule.make_linear(plan.architecture.process.diffusion_steps).levels
        self._levels = torch.from_numpy(levels).float()
        self._images = np.concatenate([example.images for example in examples])
        states = np.concatenate([example.states for example in examples])
        self._by_label = [np.flatnonzero(states == label) for label in (0, 1)]

    def draw_for_classifier(self, rng: np.random.Generator) -> Batch:
        """Return as many healthy as pathological slices; a share of them clean, as the scores are made from."""
        plan, size = self._plan, self._plan.classifier_fitting.batch
        labels = np.arange(size) % 2
        times = rng.integers(0, plan.last_time, size) * (rng.random(size) >= plan.clean_share)
        images = self._draw_images(labels, rng) * rng.uniform(0.95, 1.05, (size, 1, 1)).astype(np.float32)
        batch = self._add_noise(images, times, labels, rng)
        # A clean slice is as it is: time 0 of the process has a little noise already, and scores have none.
        clean = torch.from_numpy(images)[:, None]
        return Batch(torch.where((batch.times == 0)[:, None, None, None], clean, batch.noisy), *_rest(batch))

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
        places = [rng.choice(self._by_label[label]) for label in labels.tolist()]
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
