"""The diffusion process: noise on, noise off, and off with guidance towards what looks healthy.

Papers:  Ho et al., arXiv 2006.11239; Song et al., arXiv 2010.02502 (deterministic steps both ways); Dhariwal and
         Nichol, arXiv 2105.05233 (guidance by the gradient of a classifier); Wolleb et al., "Diffusion Models for
         Medical Anomaly Detection", arXiv 2203.04306 (encode, then decode with guidance).
Licence: code ours (Apache-2.0), written from the papers and a description of the process.

Images are (b, c, x, y). All images of a batch are at the same time, and none touches another.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor
from torch.nn import functional

from workers.diffusion.classifier import SliceClassifier
from workers.diffusion.configuration import ProcessShape
from workers.diffusion.schedule import Schedule, Stop
from workers.diffusion.unet import UNet

PREDECESSOR_OFFSET = 1e-8
"""What the predecessor adds to levels where it goes between noise and image; it shows near the last time only."""


class Process:
    """Both networks, the schedule that they were trained with, and where the guidance leads."""

    def __init__(
        self, unet: UNet, classifier: SliceClassifier, shape: ProcessShape, *, level_offset: float = 0.0
    ) -> None:
        self.schedule = Schedule.make_linear(shape.diffusion_steps)
        self._unet = unet
        self._classifier = classifier
        self._shape = shape
        self._level_offset = level_offset

    @property
    def noise_level(self) -> int:
        """The time to which slices are encoded."""
        return self._shape.noise_level

    @property
    def device(self) -> torch.device:
        """Where the networks are."""
        return self._classifier.head_norm.weight.device

    def add_noise(self, image: Tensor, time: int, noise: Tensor) -> Tensor:
        """Return images at a time, from images without noise."""
        level = self.schedule.get_level(time)
        return math.sqrt(level) * image + math.sqrt(1 - level) * noise

    def predict(self, x: Tensor, time: int) -> Tensor:
        """Return the images without noise, clamped to [-1, 1]."""
        noise, _ = self._unet(x, _tell(time, x), _tell(self._shape.healthy_class, x))
        return self.remove_noise(x, noise, time)

    def remove_noise(self, x: Tensor, noise: Tensor, time: int) -> Tensor:
        """Return images without a known noise, clamped to [-1, 1]."""
        return self._subtract(x, noise, time).clamp(-1, 1)

    def compute_posterior(self, x: Tensor, time: int, image: Tensor, variance_value: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and log variance of images one time earlier, as a sampler with noise would draw them."""
        of_image, of_noisy = (float(weights[time]) for weights in self.schedule.posterior_weights)
        share = (variance_value + 1) / 2
        largest = math.log(self.schedule.betas[time])
        smallest = float(self.schedule.log_posterior_variances[time])
        return of_image * image + of_noisy * x, share * largest + (1 - share) * smallest

    def measure_amplification(self, time: int) -> float:
        """Return how many times larger an error of the noise is in the images without noise."""
        return self._get_weights(time)[1]

    def compute_gradient(self, x: Tensor, time: int) -> Tensor:
        """Return in which direction each image looks healthier to the classifier."""
        # Gradients do not flow through tensors that were made in inference mode.
        with torch.inference_mode(mode=False), torch.enable_grad():
            asked = x.detach().clone().requires_grad_()
            logits = self._classifier(asked, _tell(time, x))
            score = functional.log_softmax(logits, dim=-1)[:, self._shape.healthy_class].sum()
            (gradient,) = torch.autograd.grad(score, asked)
        return gradient

    def guide(self, x: Tensor, time: int, image: Tensor) -> Tensor:
        """Return the images without noise as the classifier would rather see them; they may leave [-1, 1]."""
        push = math.sqrt(1 - self.schedule.get_level(time)) * self._shape.classifier_scale
        noise = self._find_noise(x, image, time) - push * self.compute_gradient(x, time)
        return self._subtract(x, noise, time)

    def step(self, x: Tensor, stop: Stop, *, is_guided: bool) -> Tensor:
        """Return images at the level of a stop, earlier or later, without new noise."""
        image = self.predict(x, stop.time)
        if is_guided and self._shape.classifier_scale:
            image = self.guide(x, stop.time, image)
        noise = self._find_noise(x, image, stop.time)
        return math.sqrt(stop.target_level) * image + math.sqrt(1 - stop.target_level) * noise

    def follow(self, x: Tensor, stops: Iterable[Stop], *, is_guided: bool) -> Tensor:
        """Return images after all steps of a trajectory."""
        for stop in stops:
            x = self.step(x, stop, is_guided=is_guided)
        return x

    def _subtract(self, x: Tensor, noise: Tensor, time: int) -> Tensor:
        of_noisy, of_noise = self._get_weights(time)
        return of_noisy * x - of_noise * noise

    def _find_noise(self, x: Tensor, image: Tensor, time: int) -> Tensor:
        of_noisy, of_noise = self._get_weights(time)
        return (of_noisy * x - image) / of_noise

    def _get_weights(self, time: int) -> tuple[float, float]:
        level = self.schedule.get_level(time) + self._level_offset
        return math.sqrt(1 / level), math.sqrt(1 / level - 1)


def _tell(value: int, x: Tensor) -> Tensor:
    return torch.tensor([value], device=x.device)
