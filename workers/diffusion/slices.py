"""From a prepared volume to slices as squares, and which of them are decoded. Pure.

A prepared volume is CT-CLIP's input, (slice, x, y) in [-1, 1]; slices are images (n, 1, x, y).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

RECONSTRUCTED = 16
"""How many slices the predecessor decodes."""


def take_slices(prepared: Tensor, numbers: Sequence[int], size: int) -> Tensor:
    """Return slices of a prepared volume: the middle square of each, resized (bilinear, no anti-aliasing).

    One slice is held at a time beside the answer, (n, 1, size, size).
    """
    taken = torch.empty(len(numbers), 1, size, size)
    for place, number in enumerate(numbers):
        square = crop_square(prepared[number])
        taken[place] = functional.interpolate(square[None, None], (size, size), mode="bilinear", align_corners=False)[0]
    return taken


def crop_square(image: Tensor) -> Tensor:
    """Return the middle of an image (x, y) whose longer side is cut to the shorter."""
    side = min(image.shape)
    left, top = find_square(image.shape)
    return image[left : left + side, top : top + side]


def find_square(shape: Sequence[int]) -> tuple[int, int]:
    """Return where the middle square of an image of this shape begins."""
    first, second = ((length - min(shape)) // 2 for length in shape)
    return first, second


def choose_evenly(numbers: Sequence[int], count: int = RECONSTRUCTED) -> list[int]:
    """Return `count` of some slices: first, last and what lies evenly between; all of them if there are fewer."""
    if len(numbers) <= count:
        return list(numbers)
    return [numbers[int(place)] for place in np.linspace(0, len(numbers) - 1, count)]
