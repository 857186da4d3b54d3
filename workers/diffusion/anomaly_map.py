"""The difference between slices and their reconstruction on the voxels of the scan, as an artefact.

A map file is a Blosc2 array like a volume file: float16 (z, y, x), HU, the geometry of the volume beside it. Voxels
that were not looked at, between the slices or outside their squares, are NaN: nothing is made up between slices.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import blosc2
import numpy as np
import numpy.typing as npt

from shared.errors import Defect
from workers.diffusion.slice_grid import SliceGrid
from workers.volume import Geometry
from workers.volume.artefact import CHUNK_SLICES

MEDIA_TYPE = "application/octet-stream"

_DESCRIPTION = "ctclip_anomaly_map"
_X, _Y, _SLICE = range(3)

_Map = npt.NDArray[np.float32]


@dataclass(frozen=True)
class _Axis:
    """Which axis of the volume an axis of the maps runs along, and where the volume's voxels lie on it."""

    own: int
    positions: npt.NDArray[np.float64]
    step: float
    """Distance of two voxels of the volume, in pixels or slices."""


def write_anomaly_map(path: Path, maps: _Map, numbers: Sequence[int], grid: SliceGrid, geometry: Geometry) -> None:
    """Write maps (n, x, y), in HU, of some slices of the prepared volume. Equal maps give equal bytes."""
    depth, height, width = grid.shape_zyx
    array = blosc2.empty(
        grid.shape_zyx,
        dtype=np.float16,
        chunks=(min(CHUNK_SLICES, depth), height, width),
        blocks=(1, height, width),
        urlpath=str(path),
        mode="w",
        contiguous=True,
        cparams={"codec": blosc2.Codec.ZSTD, "clevel": 1, "filters": [blosc2.Filter.BITSHUFFLE], "nthreads": 1},
    )
    for start, slab in iterate_slabs(maps, numbers, grid):
        array[start : start + len(slab)] = slab
    description = {"geometry": geometry.to_document(), "unit": "HU"}
    array.schunk.vlmeta[_DESCRIPTION] = json.dumps(description)


def iterate_slabs(maps: _Map, numbers: Sequence[int], grid: SliceGrid) -> Iterator[tuple[int, npt.NDArray[np.float16]]]:
    """Yield slabs of the map on the volume (z, y, x) and where each begins; only one is held at once."""
    axes = [_find_axis(grid, axis) for axis in (_X, _Y, _SLICE)]
    for start in range(0, grid.shape_zyx[0], CHUNK_SLICES):
        rows = slice(start, start + CHUNK_SLICES)
        x, y, along = (_Axis(a.own, a.positions[rows], a.step) if a.own == 0 else a for a in axes)
        sources = _match_slices(along, numbers)
        looked_at = np.flatnonzero(sources >= 0)
        slab = np.full((len(along.positions), len(x.positions), len(y.positions)), np.nan, np.float16)
        for place in looked_at:
            slab[place] = _stretch(_stretch(maps[sources[place]], x.positions).T, y.positions).T
        order = np.argsort([along.own, x.own, y.own])
        yield start, np.ascontiguousarray(slab.transpose(order))


class AnomalyMapFile:
    """A map on disk, opened for reading; slices are decompressed when asked for."""

    def __init__(self, path: Path) -> None:
        try:
            self._array = blosc2.open(str(path), mode="r")
            description = json.loads(self._array.schunk.vlmeta[_DESCRIPTION])
        except (RuntimeError, KeyError, ValueError) as error:
            raise Defect("anomaly map artefact cannot be read") from error
        self.geometry = Geometry.from_document(description["geometry"])

    @property
    def shape(self) -> tuple[int, int, int]:
        """Number of voxels along (z, y, x)."""
        depth, height, width = self._array.shape
        return (depth, height, width)

    def read_slices(self, start: int, stop: int) -> npt.NDArray[np.float16]:
        """Return slices start..stop of the map, (z, y, x) in HU, NaN where nothing was looked at."""
        return np.asarray(self._array[start:stop], dtype=np.float16)


def _find_axis(grid: SliceGrid, axis: int) -> _Axis:
    own = int(np.flatnonzero(grid.to_volume[:3, axis])[0])
    scale, offset = grid.to_volume[own, [axis, 3]]
    return _Axis(own, (np.arange(grid.shape_zyx[own]) - offset) / scale, abs(1 / scale))


def _match_slices(along: _Axis, numbers: Sequence[int]) -> npt.NDArray[np.int64]:
    """Return which of the maps each voxel shows, or -1: those in the slice itself and, at least, the nearest to it."""
    distances = np.abs(along.positions[:, None] - np.asarray(numbers, np.float64))
    nearest = distances.argmin(axis=1)
    is_near = distances.min(axis=1) <= max(1.0, along.step) / 2
    return np.where(is_near, nearest, -1)


def _stretch(image: _Map, positions: npt.NDArray[np.float64]) -> _Map:
    """Return an image (a, b) at some positions along its first axis, linear between pixels, NaN outside them."""
    last = len(image) - 1
    inside = np.clip(positions, 0, last)
    low = np.minimum(inside.astype(np.int64), max(last - 1, 0))
    weight = (inside - low).astype(np.float32)[:, None]
    stretched = image[low] * (1 - weight) + image[np.minimum(low + 1, last)] * weight
    stretched[(positions < -0.5) | (positions > last + 0.5)] = np.nan
    return np.asarray(stretched, np.float32)
