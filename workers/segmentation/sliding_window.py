"""A network slid over a volume that is larger than its window, and the label of each voxel.

The same sums in the same order and precision as nnU-Net's own predictor, so the labels are the same to the last voxel;
but slices that no later window touches are labelled at once, so only as many slices of all classes are held as a window
has. Axes are (z, y, x); c counts classes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product

import torch
from acvl_utils.cropping_and_padding.padding import pad_nd_image
from nnunetv2.inference.sliding_window_prediction import compute_gaussian, compute_steps_for_sliding_window
from torch import Tensor

from shared.errors import Defect
from workers.segmentation.configuration import Triple

Network = Callable[[Tensor], Tensor]
Report = Callable[[float], None]

_WEIGHT_SCALE = 10
"""Largest weight of a voxel in a window, as nnU-Net has it for its half-precision sums."""


@dataclass(frozen=True)
class Sliding:
    """How a window slides: its size in voxels, and its step as a share of the size."""

    patch_size: Triple
    step: float


def predict_labels(network: Network, volume: Tensor, sliding: Sliding, classes: int, report: Report) -> Tensor:
    """Return the label of each voxel, uint8 (z, y, x) on the CPU, of a prepared volume (1, z, y, x) on the device.

    `report` is told after every window which share is done; what it raises ends the work.
    """
    padded, inner = pad_nd_image(volume, sliding.patch_size, "constant", {"value": 0}, return_slicer=True)
    starts = compute_steps_for_sliding_window(padded.shape[1:], sliding.patch_size, sliding.step)
    labels = torch.empty(padded.shape[1:], dtype=torch.uint8)
    slab = _Slab(classes, (sliding.patch_size[0], *padded.shape[2:]), volume.device)
    weights = compute_gaussian(
        tuple(sliding.patch_size), sigma_scale=1 / 8, value_scaling_factor=_WEIGHT_SCALE, device=volume.device
    )
    done, total = 0, len(starts[0]) * len(starts[1]) * len(starts[2])
    for bottom, following in _pair_with_next(starts[0], padded.shape[1]):
        for y, x in product(starts[1], starts[2]):
            window = (slice(bottom, bottom + sliding.patch_size[0]), *_span((y, x), sliding.patch_size[1:]))
            logits = network(padded[(slice(None), *window)][None].contiguous())[0]
            slab.add(logits, weights, window[1:])
            done += 1
            report(done / total)
        labels[bottom:following] = slab.label_and_drop(following - bottom)
    return labels[tuple(inner[1:])]


class _Slab:
    """Weighted sums of logits (c, z, y, x) over as many slices as a window has, in half precision."""

    def __init__(self, classes: int, shape: Sequence[int], device: torch.device) -> None:
        self._sums = torch.zeros((classes, *shape), dtype=torch.half, device=device)
        self._weights = torch.zeros(tuple(shape), dtype=torch.half, device=device)

    def add(self, logits: Tensor, weights: Tensor, place: tuple[slice, ...]) -> None:
        inside = (slice(None), *place)
        # Class by class: on a CPU torch makes float32 of all that it adds to half precision, and of the sums as well.
        for sums, logit in zip(self._sums, logits, strict=True):
            sums[inside] += logit.mul_(weights)
        self._weights[inside] += weights

    def label_and_drop(self, slices: int) -> Tensor:
        """Return the labels of the lowest slices, which are complete, and move the others down."""
        labels = _label(self._sums[:, :slices], self._weights[:slices])
        if slices < len(self._weights):
            for sums in (*self._sums, self._weights):
                _move_down(sums, slices)
        return labels


def _move_down(sums: Tensor, slices: int) -> None:
    sums[:-slices] = sums[slices:].clone()
    sums[-slices:] = 0


def _label(sums: Tensor, weights: Tensor) -> Tensor:
    """Return the class of the largest mean, the first of equal ones; class by class, to touch each sum once.

    Raises Defect when a mean is not finite: the network overflowed half precision.
    """
    best = sums[0] / weights
    labels = torch.zeros(best.shape, dtype=torch.uint8, device=best.device)
    _require_finite(best)
    for number in range(1, len(sums)):
        mean = sums[number] / weights
        _require_finite(mean)
        labels.masked_fill_(mean > best, number)
        torch.maximum(best, mean, out=best)
    return labels.cpu()


def _require_finite(mean: Tensor) -> None:
    if not torch.isfinite(mean.sum(dtype=torch.float32)):
        raise Defect("the segmentation network gave values that are no numbers in half precision")


def _pair_with_next(starts: Sequence[int], end: int) -> Iterator[tuple[int, int]]:
    return zip(starts, [*starts[1:], end], strict=True)


def _span(starts: Sequence[int], sizes: Sequence[int]) -> tuple[slice, ...]:
    return tuple(slice(start, start + size) for start, size in zip(starts, sizes, strict=True))
