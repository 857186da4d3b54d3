"""Batches for the demo MedNeXt: whole studies as the stage sees them, and cheap crops around findings."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from phantom.study import FINDINGS
from training.augmentation import draw_noise, move
from training.examples import Example
from training.mednext_plan import CLASSES

Voxels = npt.NDArray[np.float16]

_PADDING = 0.0  # as that of the preprocessing
_LARGEST_SHIFT = 3
_CENTRED_SHARE = 0.75
_SEEN_SHARE = 0.25
_SEEN_BLOCKS = 150


@dataclass(frozen=True)
class Batch:
    """`volumes` (b, 1, x, y, z); `targets` and `weights` (b, classes); `places` float (b, findings, cells x, y, z).

    A target of weight 0 is not known: a crop that cuts off most of a finding, or `normal` of a crop.
    """

    volumes: Tensor
    targets: Tensor
    weights: Tensor
    places: Tensor

    def split(self, size: int) -> Iterator[Batch]:
        """Yield the batch in parts."""
        for start in range(0, len(self.volumes), size):
            part = slice(start, start + size)
            yield Batch(self.volumes[part], self.targets[part], self.weights[part], self.places[part])


def make_volumes(examples: Sequence[Example]) -> Tensor:
    """Return the inputs of examples, float32 (b, 1, x, y, z)."""
    return _stack([example.voxels for example in examples])


def make_targets(example: Example) -> npt.NDArray[np.float32]:
    """Return 0 or 1 for each of `CLASSES`; `normal` is the absence of every finding."""
    present = {name for name, has in zip(FINDINGS, example.has_finding, strict=True) if has} or {"normal"}
    return np.asarray([name in present for name in CLASSES], np.float32)


def make_whole_batch(examples: Sequence[Example], rng: np.random.Generator, disturbance: float = 1.0) -> Batch:
    """Return studies shifted, rescaled and with noise. Never flipped: the heart is on the left."""
    shifts = rng.integers(-_LARGEST_SHIFT, _LARGEST_SHIFT, (len(examples), 3), endpoint=True)
    moved = [
        move(volume, shift, _PADDING) for volume, shift in zip(make_volumes(examples), shifts.tolist(), strict=True)
    ]
    targets = torch.from_numpy(np.stack([make_targets(example) for example in examples]))
    places = [
        _make_places(
            example, move(_as_blocks(example), np.rint(shift / 2).astype(np.int64).tolist(), 0.0), example.voxels.shape
        )
        for example, shift in zip(examples, shifts, strict=True)
    ]
    return Batch(_disturb(torch.stack(moved), rng, disturbance), targets, torch.ones_like(targets), torch.stack(places))


def make_crop_batch(
    examples: Sequence[Example], size: tuple[int, int, int], rng: np.random.Generator, disturbance: float = 1.0
) -> Batch:
    """Return one crop of each study, mostly around one of its findings; rescaled and with noise."""
    volumes, targets, weights, places = [], [], [], []
    for example in examples:
        start = _choose_corner(example, size, rng)
        box = tuple(slice(2 * low, 2 * low + length) for low, length in zip(start, size, strict=True))
        kept = tuple(slice(low, low + length // 2) for low, length in zip(start, size, strict=True))
        blocks = _as_blocks(example)
        inside = blocks[(slice(None), *kept)]
        volumes.append(example.voxels[box])
        target, weight = _judge_crop(example, inside.sum(dim=(1, 2, 3)), blocks.sum(dim=(1, 2, 3)))
        targets.append(target)
        weights.append(weight)
        places.append(_make_places(example, inside, size))
    disturbed = _disturb(_stack(volumes), rng, disturbance)
    return Batch(disturbed, torch.stack(targets), torch.stack(weights), torch.stack(places))


def count_cells(shape: Sequence[int]) -> tuple[int, ...]:
    """Return the size of the second stage, on which the finest map of findings lies."""
    # The stem takes kernel 3, stride 2, no padding; the down block kernel 3, stride 2, padding 1.
    return tuple(((size - 3) // 2 + 2) // 2 for size in shape)


def _stack(voxels: Sequence[Voxels]) -> Tensor:
    return torch.from_numpy(np.stack(voxels)).float()[:, None]


def _as_blocks(example: Example) -> Tensor:
    assert example.places is not None, "training needs located examples"
    return torch.from_numpy(example.places).float()


def _choose_corner(example: Example, size: tuple[int, int, int], rng: np.random.Generator) -> list[int]:
    """Return the first block of a crop: around a block of a finding, or anywhere."""
    assert example.places is not None
    last = [(whole - part) // 2 for whole, part in zip(example.voxels.shape, size, strict=True)]
    filled = np.flatnonzero(example.places.any(axis=(1, 2, 3)))
    if len(filled) == 0 or rng.random() > _CENTRED_SHARE:
        return [int(rng.integers(0, each, endpoint=True)) for each in last]
    blocks = np.argwhere(example.places[rng.choice(filled)])
    centre = blocks[rng.integers(len(blocks))]
    jitter = rng.integers(-4, 4, 3, endpoint=True)
    corner = centre + jitter - np.asarray(size) // 4
    return [int(value) for value in np.clip(corner, 0, last)]


def _judge_crop(example: Example, inside: Tensor, whole: Tensor) -> tuple[Tensor, Tensor]:
    """Return targets and weights (classes): a finding counts as seen when enough of it is inside."""
    targets, weights = torch.zeros(len(CLASSES)), torch.ones(len(CLASSES))
    weights[CLASSES.index("normal")] = 0
    present = [name for name, has in zip(FINDINGS, example.has_finding, strict=True) if has]
    for name, seen, total in zip(present, inside.tolist(), whole.tolist(), strict=True):
        is_seen = seen >= _SEEN_BLOCKS or seen > _SEEN_SHARE * total
        targets[CLASSES.index(name)] = float(is_seen)
        weights[CLASSES.index(name)] = float(is_seen or seen == 0)
    return targets, weights


def _make_places(example: Example, blocks: Tensor, shape: Sequence[int]) -> Tensor:
    """Return the cells of the finest map that each finding touches (findings, x, y, z)."""
    cells = count_cells(shape)
    places = torch.zeros(len(FINDINGS), *cells)
    if len(blocks):
        places[torch.from_numpy(example.has_finding)] = functional.adaptive_max_pool3d(blocks, cells)
    return places


def _disturb(volumes: Tensor, rng: np.random.Generator, share: float) -> Tensor:
    scale = torch.from_numpy(1 + share * rng.uniform(-0.1, 0.1, (len(volumes), 1, 1, 1, 1))).float()
    level = torch.from_numpy(share * rng.uniform(0.0, 0.15, (len(volumes), 1, 1, 1, 1))).float()
    noise = draw_noise(volumes.shape, rng)
    return torch.where(volumes == 0, volumes, volumes * scale + noise * level)
