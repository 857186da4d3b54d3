"""The errors of a segmenter, made on purpose: masks that are shifted, too small, too large, or lack what they missed.

A reader of organs that has only seen perfect masks would fail on a segmenter's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from workers.fvlm.configuration import GeometryKind
from workers.fvlm.organs import LabelMap, Organ, merge_labels

_LOBES = (10, 11, 12, 13, 14)
_FIELD_CELLS = 3
"""Cells along each axis of the field that says where a mask is wrong."""

_SHARE = 0.4
"""Height of that field, spread about one, from which a mask is larger there, or smaller."""


@dataclass(frozen=True)
class SegmenterErrors:
    """How often each error is made. A step is a voxel of the grid that the masks are on."""

    lost_lobe: float = 0.15
    lost_dense_lung: float = 0.25
    moved: float = 0.5
    bulged: float = 0.6
    lost_organ: float = 0.03
    dense_hu: float = -150.0


def spoil_masks(
    labels: LabelMap, hu: npt.NDArray[np.int16], errors: SegmenterErrors, rng: np.random.Generator
) -> LabelMap:
    """Return organs (`Organ.label`) as a segmenter might have found them, from true labels (z, y, x).

    Never fewer organs than one.
    """
    spoilt = labels.copy()
    if rng.random() < errors.lost_lobe:
        spoilt[spoilt == rng.choice(_LOBES)] = 0
    if rng.random() < errors.lost_dense_lung:
        spoilt[np.isin(spoilt, _LOBES) & (hu > errors.dense_hu)] = 0
    organs = merge_labels(spoilt, GeometryKind.PUBLIC)
    if rng.random() < errors.moved:
        organs = _move(organs, rng.integers(-1, 1, 3, endpoint=True).tolist())
    if rng.random() < errors.bulged:
        organs = _bulge(organs, rng)
    if rng.random() < errors.lost_organ:
        organs[organs == rng.choice([organ.label for organ in (Organ.HEART, Organ.AORTA)])] = 0
    return organs if organs.any() else merge_labels(labels, GeometryKind.PUBLIC)


def _move(organs: LabelMap, steps: Sequence[int]) -> LabelMap:
    """Return organs moved by at most a voxel along each axis; what comes in at a side is what was there."""
    padded = np.pad(organs, 1, mode="edge")
    z, y, x = (slice(1 - step, 1 - step + size) for step, size in zip(steps, organs.shape, strict=True))
    return padded[z, y, x]


def _bulge(organs: LabelMap, rng: np.random.Generator) -> LabelMap:
    """Return organs a voxel larger in some places and a voxel smaller in others."""
    field = torch.from_numpy(rng.normal(rng.normal(0, 0.5), 1, (1, 1, *(_FIELD_CELLS,) * 3))).float()
    grown = functional.interpolate(field, organs.shape, mode="trilinear")[0, 0].numpy()
    labels = torch.from_numpy(organs).float()[None]
    highest = functional.max_pool3d(labels, 3, stride=1, padding=1)[0].to(torch.uint8).numpy()
    lowest = -functional.max_pool3d(-labels, 3, stride=1, padding=1)[0]
    is_rim = highest != lowest.to(torch.uint8).numpy()
    bulged = np.where(is_rim & (grown < -_SHARE), np.uint8(0), organs)
    return np.where((organs == 0) & (grown > _SHARE), highest, bulged)
