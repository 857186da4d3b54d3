"""Volume files: Blosc2 arrays with the geometry and series facts beside the voxels.

Chunks of 16 slices, compressed losslessly (zstd after bit shuffling), so a stage can read the slices that it
needs without the rest. The format is Blosc2's contiguous frame: one file, self-describing, no pickle.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import blosc2
import numpy as np
import numpy.typing as npt

from shared.errors import Defect
from workers.volume.geometry import Geometry

CHUNK_SLICES = 16
_DESCRIPTION = "ctclip_volume"


@dataclass(frozen=True)
class Volume:
    """A chest CT in memory.

    `hu` is int16 Hounsfield units, (z, y, x), ascending z along the normal.
    `facts` says what is known of the series (kernel, manufacturer, thickness...); nothing of the patient.
    """

    hu: npt.NDArray[np.int16]
    geometry: Geometry
    facts: Mapping[str, Any] = field(default_factory=dict)


def write_volume(volume: Volume, path: Path) -> None:
    """Write `volume` to one file."""
    depth, height, width = volume.hu.shape
    array = blosc2.asarray(
        np.ascontiguousarray(volume.hu, dtype=np.int16),
        chunks=(min(CHUNK_SLICES, depth), height, width),
        urlpath=str(path),
        mode="w",
        contiguous=True,
        # One thread: several store their blocks as they get ready, and the same study would give different files.
        cparams={"codec": blosc2.Codec.ZSTD, "clevel": 1, "filters": [blosc2.Filter.BITSHUFFLE], "nthreads": 1},
    )
    description = {"geometry": volume.geometry.to_document(), "facts": dict(volume.facts)}
    array.schunk.vlmeta[_DESCRIPTION] = json.dumps(description)


class VolumeFile:
    """A volume on disk, opened for reading; slices are decompressed when asked for."""

    def __init__(self, path: Path) -> None:
        try:
            self._array = blosc2.open(str(path), mode="r")
            description = json.loads(self._array.schunk.vlmeta[_DESCRIPTION])
        except (RuntimeError, KeyError, ValueError) as error:
            raise Defect("volume artefact cannot be read") from error
        self.geometry = Geometry.from_document(description["geometry"])
        self.facts: Mapping[str, Any] = description["facts"]

    @property
    def shape(self) -> tuple[int, int, int]:
        """Number of voxels along (z, y, x)."""
        depth, height, width = self._array.shape
        return (depth, height, width)

    def read_slices(self, start: int, stop: int) -> npt.NDArray[np.int16]:
        """Return slices start..stop of the volume, (z, y, x) int16 HU."""
        return np.asarray(self._array[start:stop], dtype=np.int16)

    def read(self) -> Volume:
        """Return the whole volume."""
        return Volume(self.read_slices(0, self.shape[0]), self.geometry, self.facts)
