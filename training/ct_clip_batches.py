"""Batches for the demo CT-CLIP: studies as the stage sees them, their reports, their labels, and where findings lie."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from phantom.report import write_report
from phantom.study import FINDINGS
from shared.features import CT_CLIP_LABELS
from training.augmentation import draw_noise, move
from training.ct_clip_examples import BLOCK, Example
from training.ct_clip_plan import ANY_FINDING, TRAINED_LABELS
from workers.ct_clip.configuration import ImageShape

_PADDING = -1.0
_LARGEST_SHIFT = 5
_MOST_NOISE = 0.04
_MOST_STRETCH = 0.06


@dataclass(frozen=True)
class Batch:
    """`volumes` (b, 1, z, x, y); `reports`; `targets` (b, labels); `places` (b, findings, t, h, w) on the token grid.

    `is_same` (b, b) is 1 where two studies have the same findings, so that either report fits both.
    """

    volumes: Tensor
    reports: tuple[str, ...]
    targets: Tensor
    places: Tensor
    is_same: Tensor


def make_volumes(examples: Sequence[Example]) -> Tensor:
    """Return the inputs of examples, float32 (b, 1, slice, x, y)."""
    return torch.from_numpy(np.stack([example.voxels for example in examples])).float()[:, None]


def make_targets(example: Example) -> npt.NDArray[np.float32]:
    """Return 0 or 1 for each label of CT-CLIP; what no phantom has is 0."""
    present = {finding.name for finding in example.findings}
    said = {label for label, name in TRAINED_LABELS.items() if name in present} | ({ANY_FINDING} if present else set())
    return np.asarray([label in said for label in CT_CLIP_LABELS], np.float32)


def make_batch(examples: Sequence[Example], shape: ImageShape, rng: np.random.Generator) -> Batch:
    """Return studies shifted, stretched and with noise. Never flipped: the heart is on the left."""
    shifts = rng.integers(-_LARGEST_SHIFT, _LARGEST_SHIFT, (len(examples), 3), endpoint=True)
    moved = [
        move(volume, shift, _PADDING) for volume, shift in zip(make_volumes(examples), shifts.tolist(), strict=True)
    ]
    present = torch.from_numpy(np.stack([example.has_finding for example in examples])).float()
    return Batch(
        volumes=_disturb(torch.stack(moved), rng),
        reports=tuple(write_report(example.findings, rng) for example in examples),
        targets=torch.from_numpy(np.stack([make_targets(example) for example in examples])),
        places=torch.stack(
            [_make_places(example, shift, shape) for example, shift in zip(examples, shifts, strict=True)]
        ),
        is_same=(torch.cdist(present, present, p=1) < 0.5).float(),
    )


def _make_places(example: Example, shift: npt.NDArray[np.int64], shape: ImageShape) -> Tensor:
    """Return the tokens that each finding touches (findings, t, h, w)."""
    assert example.places is not None, "training needs located examples"
    grid = (example.voxels.shape[0] // shape.temporal_patch_size, shape.grid_size, shape.grid_size)
    places = torch.zeros(len(FINDINGS), *grid)
    if len(example.places):
        blocks = torch.from_numpy(example.places).float()
        blocks = move(blocks, np.rint(shift / BLOCK).astype(np.int64).tolist(), 0.0)
        places[torch.from_numpy(example.has_finding)] = functional.adaptive_max_pool3d(blocks, grid)
    return places


def _disturb(volumes: Tensor, rng: np.random.Generator) -> Tensor:
    stretch = _draw(rng, 1 - _MOST_STRETCH, 1 + _MOST_STRETCH, len(volumes))
    level = _draw(rng, 0.0, _MOST_NOISE, len(volumes))
    noise = draw_noise(volumes.shape, rng)
    disturbed = ((volumes - _PADDING) * stretch + _PADDING + noise * level).clamp(-1, 1)
    return torch.where(volumes == _PADDING, volumes, disturbed)


def _draw(rng: np.random.Generator, low: float, high: float, count: int) -> Tensor:
    return torch.from_numpy(rng.uniform(low, high, (count, 1, 1, 1, 1))).float()
