"""How training images are disturbed, so that nothing is learnt by its place or its noise."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor


def move(image: Tensor, steps: Sequence[int], padding: float) -> Tensor:
    """Return an image (c, ...) moved by so many voxels along each axis but the first; `padding` comes in."""
    moved = torch.roll(image, tuple(steps), dims=tuple(range(1, image.ndim)))
    for axis, step in enumerate(steps, 1):
        size = image.shape[axis]
        start, length = (0, step) if step >= 0 else (size + step, -step)
        moved.narrow(axis, start, length).fill_(padding)
    return moved


def draw_noise(shape: Sequence[int], rng: np.random.Generator) -> Tensor:
    """Return standard normal noise of a shape."""
    return torch.randn(tuple(shape), generator=torch.Generator().manual_seed(int(rng.integers(2**62))))
