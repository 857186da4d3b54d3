"""An anomaly map as people use it: NIfTI, a DICOM parametric map, a picture beside the scan."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from shared.artefacts import ArtefactKind
from shared.json_values import JsonObject
from workers.renderings.dicom import MEDIA_TYPE as DICOM
from workers.renderings.dicom import Provenance
from workers.renderings.maker import Maker
from workers.renderings.montage import render_montage
from workers.renderings.nifti import make_image, write_nifti
from workers.renderings.parametric_map import SparseMap, write_parametric_map
from workers.renderings.pictures import PNG
from workers.runtime.stage import ProducedArtefact
from workers.volume import Geometry, Volume
from workers.volume.nifti import MEDIA_TYPE as NIFTI
from workers.volume.source import SourceSeries

_SLAB_SLICES = 16


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
    """Write the renderings of an anomaly map and return them. `regions` are those of the reconstruction.

    There is no DICOM object where nothing was looked at, or where there is no image to refer to.
    """
    nifti = scratch / ArtefactKind.ANOMALY_MAP_NIFTI.file_name
    write_map_nifti(nifti, anomaly_map, volume.geometry, maker)
    made = [ProducedArtefact(ArtefactKind.ANOMALY_MAP_NIFTI, nifti, NIFTI)]
    sparse = find_looked_at(anomaly_map, volume.geometry)
    if source is not None and len(sparse.numbers):
        dicom = scratch / ArtefactKind.ANOMALY_MAP_DICOM.file_name
        write_parametric_map(dicom, sparse, Provenance(maker, source, datetime.now(UTC)))
        made.append(ProducedArtefact(ArtefactKind.ANOMALY_MAP_DICOM, dicom, DICOM))
    preview = scratch / ArtefactKind.ANOMALY_MAP_PREVIEW.file_name
    map_hu = anomaly_map.read_slices(0, anomaly_map.shape[0])
    preview.write_bytes(render_montage(volume, map_hu, regions, f"Difference to healthy by {maker.describe()}"))
    return (*made, ProducedArtefact(ArtefactKind.ANOMALY_MAP_PREVIEW, preview, PNG))


def write_map_nifti(path: Path, anomaly_map: MapOnScan, geometry: Geometry, maker: Maker) -> None:
    """Write a map as float32 HU; what was not looked at stays NaN, for 0 would say that it is healthy."""
    image = make_image(anomaly_map.shape, np.float32, geometry)
    image.header["descrip"] = maker.caution.encode()
    image.header["cal_max"] = max((float(np.nanmax(slab, initial=0)) for slab in _iterate(anomaly_map)), default=0.0)
    description: JsonObject = {
        "unit": "HU",
        "meaning": "absolute difference to the reconstruction as healthy; NaN where nothing was looked at",
        "made_by": {"name": maker.name, "version": maker.version, "weights": maker.digest},
        "note": maker.caution,
    }
    write_nifti(path, image, _iterate(anomaly_map), description)


def find_looked_at(anomaly_map: MapOnScan, geometry: Geometry) -> SparseMap:
    """Return the slices of a map that hold any number, and the digest of map and geometry."""
    digest = hashlib.sha256(json.dumps(geometry.to_document(), sort_keys=True).encode())
    kept, numbers = [], []
    for start, slab in zip(range(0, anomaly_map.shape[0], _SLAB_SLICES), _iterate(anomaly_map), strict=True):
        digest.update(np.ascontiguousarray(slab).data)
        looked_at = np.flatnonzero(~np.isnan(slab).all(axis=(1, 2)))
        kept.append(slab[looked_at].astype(np.float32))
        numbers.append(looked_at + start)
    return SparseMap(np.concatenate(kept), np.concatenate(numbers), anomaly_map.shape[0], geometry, digest.hexdigest())


def _iterate(anomaly_map: MapOnScan) -> Iterator[npt.NDArray[np.float16]]:
    for start in range(0, anomaly_map.shape[0], _SLAB_SLICES):
        yield anomaly_map.read_slices(start, min(start + _SLAB_SLICES, anomaly_map.shape[0]))
