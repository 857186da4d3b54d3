"""Smooth random fields: noise on a coarse lattice, interpolated linearly axis by axis (matrix products)."""

from __future__ import annotations

from typing import Any

import numpy as np

from phantom.canvas import Box, Floats


def make_smooth_field(box: Box, grain_mm: float, rng: np.random.Generator) -> Floats:
    """Return a field on the box with about zero mean and unit spread that varies over `grain_mm`.

    The lattice is tied to millimetres, so the field does not depend on the voxel size.
    """
    weights = [_make_weights(axis.ravel(), grain_mm) for axis in (box.z, box.y, box.x)]
    lattice = rng.standard_normal([w.shape[1] for w in weights], dtype=np.float32)
    field = np.tensordot(weights[0], lattice, axes=(1, 0))
    field = np.matmul(weights[1], field)
    # Linear interpolation between lattice points loses a third of the spread per axis.
    return np.asarray(np.matmul(field, weights[2].T) * np.float32(1.8))


def make_generator(seed: int, *concern: int) -> np.random.Generator:
    """Return the generator of one concern of one seed; concerns do not disturb each other."""
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed, spawn_key=concern)))


def draw(rng: np.random.Generator, low_high: tuple[float, float]) -> float:
    """Draw evenly from a range."""
    return float(rng.uniform(*low_high))


def _make_weights(axis: Floats, grain_mm: float) -> np.ndarray[Any, np.dtype[np.float32]]:
    position = (axis - axis[0]) / grain_mm
    lower = np.floor(position).astype(int)
    weights = np.zeros((axis.size, int(lower[-1]) + 2), dtype=np.float32)
    rows = np.arange(axis.size)
    weights[rows, lower] = 1 - (position - lower)
    weights[rows, lower + 1] = position - lower
    return weights
