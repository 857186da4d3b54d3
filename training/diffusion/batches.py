"""Batches for the noise predictor: slices of training studies, moved a little, with noise of some time over them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from training.diffusion.examples import Example
from training.diffusion.plan import DiffusionPlan
from workers.diffusion.schedule import Schedule

AIR = -1.0
_LARGEST_SHIFT = 2

_Number = TypeVar("_Number", bound=np.generic)


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
        return np.stack([move(self._images[place], draw_move(rng), AIR) for place in places]).astype(np.float32)

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


def draw_noise(shape: Sequence[int], rng: np.random.Generator) -> Tensor:
    """Return normal noise of a shape."""
    return torch.randn(tuple(shape), generator=torch.Generator().manual_seed(int(rng.integers(2**62))))


def add_noise(clean: Tensor, noise: Tensor, levels: Tensor) -> Tensor:
    """Return noisy slices (b, 1, x, y), of whose variance the clean ones have the shares `levels` (b,)."""
    shares = levels[:, None, None, None]
    return shares.sqrt() * clean + (1 - shares).sqrt() * noise


def draw_move(rng: np.random.Generator) -> tuple[int, int]:
    """Return by how many pixels of (x, y) `move` moves."""
    x, y = rng.integers(0, 2 * _LARGEST_SHIFT + 1, 2).tolist()
    return x, y


def move(image: npt.NDArray[_Number], start: tuple[int, int], filling: float) -> npt.NDArray[_Number]:
    """Move an image (x, y) by whole pixels; `filling` comes in. Never flipped: the heart is on the left."""
    x, y = start
    framed = np.pad(image, _LARGEST_SHIFT, constant_values=filling)
    return framed[x : x + image.shape[0], y : y + image.shape[1]]


def _crop(image: npt.NDArray[np.float32], size: int, rng: np.random.Generator) -> npt.NDArray[np.float32]:
    x, y = (int(rng.integers(0, length - size + 1)) for length in image.shape)
    return image[x : x + size, y : y + size]
