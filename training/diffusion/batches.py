"""Batches for the noise predictor: slices of training studies, moved a little, with noise of some time over them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from training.augmentation import draw_noise, move
from training.diffusion.examples import Example
from training.diffusion.plan import DiffusionPlan
from workers.diffusion.schedule import Schedule

AIR = -1.0
_LARGEST_SHIFT = 2


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
        self._levels = compute_levels(plan)
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
        places = [rng.choice(self._by_label[label]) for label in labels.tolist()]
        moved = [move(torch.from_numpy(self._images[place])[None], draw_steps(rng), AIR) for place in places]
        return torch.cat(moved).float().numpy()

    def _add_noise(
        self,
        images: npt.NDArray[np.float32],
        times: npt.NDArray[np.int64],
        labels: npt.NDArray[np.int64],
        rng: np.random.Generator,
    ) -> Batch:
        clean, told = torch.from_numpy(images)[:, None], torch.from_numpy(times)
        noise = draw_noise(clean.shape, rng)
        return Batch(add_noise(clean, noise, self._levels[told]), noise, told, torch.from_numpy(labels))


def compute_levels(plan: DiffusionPlan) -> Tensor:
    """Return the share of the variance that a slice has at each time, (times,)."""
    return torch.from_numpy(Schedule.make_linear(plan.architecture.process.diffusion_steps).levels).float()


def add_noise(clean: Tensor, noise: Tensor, levels: Tensor) -> Tensor:
    """Return noisy slices (b, 1, x, y), of whose variance the clean ones have the shares `levels` (b,)."""
    shares = levels[:, None, None, None]
    return shares.sqrt() * clean + (1 - shares).sqrt() * noise


def draw_steps(rng: np.random.Generator) -> tuple[int, int]:
    """Return by how many pixels along (x, y) a slice is moved. Never flipped: the heart is on the left."""
    x, y = (_LARGEST_SHIFT - rng.integers(0, 2 * _LARGEST_SHIFT + 1, 2)).tolist()
    return x, y


def _crop(image: npt.NDArray[np.float32], size: int, rng: np.random.Generator) -> npt.NDArray[np.float32]:
    x, y = (int(rng.integers(0, length - size + 1)) for length in image.shape)
    return image[x : x + size, y : y + size]
