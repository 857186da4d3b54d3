"""What one slice costs in each network, counted from its layers. Floating point operations, in units of 1e12 (TFLOP).

Multiplications and additions of convolutions and attention are counted; norms and activations are not. Full size: 1.40
for the noise predictor and 0.0096 for the classifier, as torch's own counter finds.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from workers.diffusion.blocks import Downsampling, Resampling, ResidualBlock, SelfAttention, Step, Upsampling
from workers.diffusion.classifier import SliceClassifier
from workers.diffusion.unet import UNet

_TERA = 1e12
_FORWARD_AND_BACK = 2
"""A gradient with respect to the image alone costs about as much again as the answer."""


@dataclass(frozen=True)
class SliceCost:
    """What one slice costs in TFLOP at one time: to predict its noise, and to guide it."""

    prediction: float
    guidance: float

    @classmethod
    def count(cls, unet: UNet, classifier: SliceClassifier) -> SliceCost:
        """Count the layers of both networks."""
        return cls(count_unet(unet), _FORWARD_AND_BACK * count_classifier(classifier))


def count_unet(unet: UNet) -> float:
    """Return the TFLOP of one image through the noise predictor."""
    size, flop = unet.shape.image_size, 0
    for step in (*unet.encoder.steps, unet.encoder.middle, *unet.decoder):
        size, added = _count_step(step, size)
        flop += added
    return (flop + _count_convolution(unet.head_convolution, size**2)) / _TERA


def count_classifier(classifier: SliceClassifier) -> float:
    """Return the TFLOP of one image through the slice classifier."""
    size, flop = classifier.shape.image_size, 0
    for step in (*classifier.encoder.steps, classifier.encoder.middle):
        size, added = _count_step(step, size)
        flop += added
    return (flop + _count_convolution(classifier.pool.query_key_value, classifier.shape.pooled_tokens)) / _TERA


def _count_step(step: nn.Module, size: int) -> tuple[int, int]:
    """Return the size of the image behind a step, and the operations in it."""
    assert isinstance(step, Step)
    flop = 0
    for module in step:
        size = _resize(module, size)
        flop += _count_module(module, size**2)
    return size, flop


def _resize(module: nn.Module, size: int) -> int:
    resampling = module.resampling if isinstance(module, ResidualBlock) else None
    if isinstance(module, Downsampling) or resampling is Resampling.DOWN:
        return size // 2
    if isinstance(module, Upsampling) or resampling is Resampling.UP:
        return size * 2
    return size


def _count_module(module: nn.Module, pixels: int) -> int:
    convolutions = [layer for layer in module.modules() if isinstance(layer, nn.Conv2d | nn.Conv1d)]
    flop = sum(_count_convolution(layer, pixels) for layer in convolutions)
    if isinstance(module, SelfAttention):
        flop += 4 * pixels**2 * module.output.in_channels
    return flop


def _count_convolution(layer: nn.Conv1d | nn.Conv2d, pixels: int) -> int:
    return 2 * layer.weight.numel() * pixels
