"""Phantoms made to look like many scanners, patients and surroundings, so that a real CT is one case more.

Everything is decided by a generator. Places change by one affine map for voxels and labels; no side is mirrored: the
lobes of the two lungs are not each other's image, and TotalSegmentator's own network is trained without it, too.
Arrays are (z, y, x): z up, y to the front, x to the right.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from scipy import ndimage
from torch.nn import functional

from training.segmentation.examples import Example
from training.segmentation.labels import BACKGROUND, FIRST, LUNGS, OUTPUTS
from workers.segmentation.configuration import Triple
from workers.volume.label_map import Labels

Floats = npt.NDArray[np.float32]
Rng = np.random.Generator

_BLOOD = (51, 52, *range(54, 61), 62, 63)


@dataclass(frozen=True)
class Ranges:
    """How strong each change may be; shares are those of the crops that have it."""

    turn_deg: float = 10.0
    scale: tuple[float, float] = (0.8, 1.25)
    stretch: float = 0.08
    organ_shift_hu: float = 18.0
    lung_shift_hu: tuple[float, float] = (-70.0, 160.0)
    opacity_share: float = 0.35
    opacity_hu: tuple[float, float] = (80.0, 850.0)
    contrast_share: float = 0.2
    contrast_hu: tuple[float, float] = (30.0, 250.0)
    gas_share: float = 0.4
    thing_share: float = 0.4
    field_share: float = 0.2
    scale_hu: float = 0.08
    shift_hu: float = 30.0
    blur_share: float = 0.35
    noise_hu: float = 45.0
    noise_share: float = 0.8

    def soften(self, strength: float) -> Ranges:
        """Return ranges in which changes are `strength` times as strong, and those that only some have as frequent."""
        weaker: dict[str, Any] = {
            name: value * strength for name, value in vars(self).items() if isinstance(value, float)
        }
        (small, large), (thin, dense) = self.scale, self.lung_shift_hu
        return replace(
            self,
            **weaker,
            scale=(small**strength, large**strength),
            lung_shift_hu=(thin * strength, dense * strength),
        )


class Crop(NamedTuple):
    """Part of a changed study: HU float32, labels uint8, and which voxels lie inside of the study."""

    hu: Floats
    labels: Labels
    is_inside: npt.NDArray[np.bool_]


def augment(example: Example, size: Triple, rng: Rng, ranges: Ranges) -> Crop:
    """Return a changed crop of the study."""
    hu, labels, is_inside = move(example, size, rng, ranges)
    _change_tissues(hu, labels, rng, ranges)
    _add_opacities(hu, labels, rng, ranges)
    _add_gas(hu, labels, rng, ranges)
    _add_things(hu, labels, rng, ranges)
    _narrow_field(hu, labels, rng, ranges)
    return Crop(_scan(hu, rng, ranges), labels, is_inside)


def move(example: Example, size: Triple, rng: Rng, ranges: Ranges) -> Crop:
    """Return a crop about a drawn place, turned and scaled; what lies beyond the study repeats its edge."""
    shape = np.asarray(example.hu.shape)
    centre = _draw_centre(example, size, rng)
    matrix = _draw_matrix(rng, ranges)
    axes = [torch.arange(length, dtype=torch.float32) - (length - 1) / 2 for length in size]
    offsets = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1)
    places = offsets @ torch.from_numpy(matrix.T.astype(np.float32)) + torch.from_numpy(centre.astype(np.float32))
    grid = (places / torch.from_numpy((shape - 1) / 2).float() - 1).flip(-1)[None]
    hu = _sample(example.hu, grid, "bilinear").astype(np.float32)
    is_inside = (grid[0].abs() <= 1).all(dim=-1).numpy()
    labels = _sample(example.labels, grid, "nearest").astype(np.uint8)
    return Crop(hu, labels, is_inside)


def _sample(array: npt.NDArray[np.generic], grid: torch.Tensor, mode: str) -> npt.NDArray[np.float32]:
    values = torch.from_numpy(array.astype(np.float32))[None, None]
    sampled = functional.grid_sample(values, grid, mode=mode, padding_mode="border", align_corners=True)
    return np.asarray(sampled[0, 0].numpy())


def _draw_centre(example: Example, size: Triple, rng: Rng) -> npt.NDArray[np.float64]:
    """Return the middle of a crop inside the study where it fits, half of the time about one of the first organs."""
    shape, half = np.asarray(example.hu.shape), np.asarray(size) / 2
    low, high = np.minimum(half, shape / 2), np.maximum(shape - half, shape / 2)
    centre = rng.uniform(low, high)
    if rng.random() < 0.5:
        places = np.flatnonzero(example.labels == rng.choice(FIRST))
        if len(places):
            place = np.unravel_index(int(rng.choice(places)), example.labels.shape)
            centre = np.clip(np.asarray(place) + rng.normal(0, 6, 3), low, high)
    return np.asarray(centre - 0.5)


def _draw_matrix(rng: Rng, ranges: Ranges) -> npt.NDArray[np.float64]:
    """Return the map from offsets in the crop to offsets in the study."""
    turns = np.deg2rad(rng.normal(0, ranges.turn_deg / 2, 3).clip(-ranges.turn_deg, ranges.turn_deg))
    matrix = np.eye(3)
    for (first, second), turn in zip(((0, 1), (0, 2), (1, 2)), turns, strict=True):
        rotation = np.eye(3)
        rotation[[first, second], [first, second]] = np.cos(turn)
        rotation[first, second], rotation[second, first] = -np.sin(turn), np.sin(turn)
        matrix = matrix @ rotation
    low, high = np.log(ranges.scale)
    return np.asarray(matrix * np.exp(rng.uniform(low, high) + rng.normal(0, ranges.stretch, 3)))


def _change_tissues(hu: Floats, labels: Labels, rng: Rng, ranges: Ranges) -> None:
    """Shift each organ's density by itself, all blood together, and both lungs more than the rest."""
    shifts = rng.normal(0, ranges.organ_shift_hu, OUTPUTS)
    shifts[BACKGROUND] = 0.0
    shifts[list(LUNGS)] = rng.uniform(*ranges.lung_shift_hu) * rng.random()
    if rng.random() < ranges.contrast_share:
        shifts[list(_BLOOD)] += rng.uniform(*ranges.contrast_hu) * rng.uniform(0.6, 1.0, len(_BLOOD))
    hu += shifts.astype(np.float32)[labels]


def _add_opacities(hu: Floats, labels: Labels, rng: Rng, ranges: Ranges) -> None:
    """Fill part of the lungs up to ground glass or to the density of soft tissue."""
    if rng.random() >= ranges.opacity_share:
        return
    field = make_field(hu.shape, rng.uniform(3, 14), rng)
    amount = np.clip((field - rng.uniform(0.0, 1.4)) * rng.uniform(0.7, 3.0), 0, 1) * rng.uniform(*ranges.opacity_hu)
    denser = np.minimum(hu + amount, np.maximum(hu, np.float32(60.0)))
    np.copyto(hu, denser, where=np.isin(labels, LUNGS))


def _add_gas(hu: Floats, labels: Labels, rng: Rng, ranges: Ranges) -> None:
    """Put gas and stool, as of bowel, into soft tissue that is no organ of the chest."""
    if rng.random() >= ranges.gas_share:
        return
    is_free = ((labels == BACKGROUND) & (hu > -250)) | np.isin(labels, (1, 5, 6))
    for _ in range(int(rng.integers(1, 5))):
        inside = _make_ellipsoid(hu.shape, (2.0, 10.0), rng) & is_free
        dense = rng.uniform(-1000, -850) if rng.random() < 0.6 else rng.uniform(-850, -200)
        hu[inside] = dense + rng.normal(0, rng.uniform(5, 120), int(inside.sum()))


def _add_things(hu: Floats, labels: Labels, rng: Rng, ranges: Ranges) -> None:
    """Put arms, cushions and the like into the air around the body."""
    if rng.random() >= ranges.thing_share:
        return
    is_air = (labels == BACKGROUND) & (hu < -800)
    for _ in range(int(rng.integers(1, 4))):
        body = _make_ellipsoid(hu.shape, (4.0, 40.0), rng) & is_air
        hu[body] = rng.uniform(-950, -300) if rng.random() < 0.5 else rng.uniform(-120, 70)


def _narrow_field(hu: Floats, labels: Labels, rng: Rng, ranges: Ranges) -> None:
    """Cut off what lies outside of a circle, as a small field of view does."""
    if rng.random() >= ranges.field_share:
        return
    y, x = (np.arange(length) - rng.uniform(0.3, 0.7) * length for length in hu.shape[1:])
    radius = rng.uniform(0.45, 0.75) * max(hu.shape[1:])
    outside = np.broadcast_to(y[:, None] ** 2 + x[None, :] ** 2 > radius * radius, hu.shape)
    hu[outside], labels[outside] = -1024.0, BACKGROUND


def _scan(hu: Floats, rng: Rng, ranges: Ranges) -> Floats:
    """Change calibration, sharpness and noise; thick slices are averaged."""
    hu = hu * np.float32(1 + rng.uniform(-1, 1) * ranges.scale_hu) + np.float32(rng.uniform(-1, 1) * ranges.shift_hu)
    if rng.random() < ranges.blur_share:
        sigma = rng.uniform(0.3, 0.9)
        hu = ndimage.gaussian_filter(hu, (sigma * rng.uniform(0.5, 2.0), sigma, sigma), truncate=2.0)
    if rng.random() < ranges.noise_share:
        hu += rng.standard_normal(hu.shape, dtype=np.float32) * np.float32(rng.exponential(ranges.noise_hu))
    return np.maximum(hu, np.float32(-1024.0))


def make_field(shape: tuple[int, ...], grain: float, rng: Rng) -> Floats:
    """Return a smooth field of about zero mean and unit spread that varies over `grain` voxels."""
    lattice = rng.standard_normal([int(length / grain) + 2 for length in shape], dtype=np.float32)
    values = torch.from_numpy(lattice)[None, None]
    field = functional.interpolate(values, size=shape, mode="trilinear", align_corners=True)[0, 0].numpy()
    return np.asarray(field * np.float32(1.6))


def _make_ellipsoid(shape: tuple[int, ...], radii: tuple[float, float], rng: Rng) -> npt.NDArray[np.bool_]:
    low, high = np.log(radii)
    lengths = np.exp(rng.uniform(low, high, 3))
    centre = rng.uniform(0, shape)
    z, y, x = (
        ((np.arange(size) - middle) / length) ** 2 for size, middle, length in zip(shape, centre, lengths, strict=True)
    )
    return np.asarray(z[:, None, None] + y[None, :, None] + x[None, None, :] < 1)
