# ruff: noqa: ARG001
"""An anomaly map as people use it: NIfTI, DICOM, a picture beside the scan."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from shared.json_values import JsonObject
from workers.renderings.maker import Maker
from workers.runtime.stage import ProducedArtefact
from workers.volume import Volume
from workers.volume.source import SourceSeries


class MapOnScan(Protocol):
    """A map on the voxels of a scan, as `workers.diffusion.anomaly_map.AnomalyMapFile` reads it."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """Number of voxels along (z, y, x)."""

    def read_slices(self, start: int, stop: int) -> npt.NDArray[np.float16]:
        """Return slices start..stop of the map, (z, y, x) in HU, NaN where nothing was looked at."""


def make_anomaly_renderings(
    anomaly_map: MapOnScan,
    volume: Volume,
    regions: Sequence[JsonObject],
    *,
    maker: Maker,
    source: SourceSeries | None,
    scratch: Path,
) -> tuple[ProducedArtefact, ...]:
    """Write the renderings of an anomaly map and return them. `regions` are those of the reconstruction."""
    # Under way: what is not written yet is not offered.
    return ()
