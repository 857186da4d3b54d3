"""Measure what it costs to write masks and an anomaly map as NIfTI, DICOM and pictures.

    python -m benchmarks.renderings [--alone]

A phantom's labels, stretched to 300 x 512 x 512, and a map of 16 slices. Seconds are of this process alone (CPU), so
that other work on the machine does not count. `--alone` also lets highdicom make the segmentation by itself, which
takes far longer, and over a gigabyte.
"""

from __future__ import annotations

import argparse
import io
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import numpy.typing as npt

from phantom.settings import PhantomSettings
from phantom.study import make_study
from workers.renderings.anomaly import find_looked_at, write_map_nifti
from workers.renderings.dicom import Provenance
from workers.renderings.maker import Maker
from workers.renderings.masks import write_mask_nifti
from workers.renderings.montage import render_montage
from workers.renderings.outlines import render_outlines
from workers.renderings.parametric_map import write_parametric_map
from workers.renderings.segmentation import Organs, list_segments, make_segmentation, write_segmentation
from workers.segmentation.labels import TOTAL_NAMES
from workers.volume import Geometry, Volume
from workers.volume.pose import Voxel
from workers.volume.source import SourceImage, SourceSeries

_SHAPE = (300, 512, 512)
_GEOMETRY = Geometry((1.0, 0.75, 0.75), (-192.0, -192.0, -150.0), (1.0, 0.0, 0.0), (0.0, 1.0, 0.0))
_MAKER = Maker("phantom", "1", "ab" * 32, is_demo=True)
_NAMES = dict(enumerate(TOTAL_NAMES, start=1))
_LOOKED_AT = 16
_MIB = 1 << 20


class _MapInMemory:
    """A map of some slices, as its file reads it."""

    def __init__(self) -> None:
        self.map_hu = np.full(_SHAPE, np.nan, np.float16)
        generator = np.random.default_rng(1)
        for z in np.linspace(20, 280, _LOOKED_AT).astype(int):
            self.map_hu[z] = np.abs(generator.normal(0, 60, _SHAPE[1:]))

    @property
    def shape(self) -> tuple[int, int, int]:
        return _SHAPE

    def read_slices(self, start: int, stop: int) -> npt.NDArray[np.float16]:
        return self.map_hu[start:stop]


def main() -> None:
    """Print one line for each rendering."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--alone", action="store_true", help="also highdicom's own segmentation")
    is_alone = bool(arguments.parse_args().alone)
    study = make_study(1, (), PhantomSettings())
    volume, labels = Volume(_stretch(study.hu), _GEOMETRY), _stretch(study.labels)
    with TemporaryDirectory() as folder:
        _measure_masks(volume, labels, Path(folder), is_alone=is_alone)
        _measure_map(volume, Path(folder))


def _stretch(voxels: npt.NDArray[Voxel]) -> npt.NDArray[Voxel]:
    places = (np.arange(size) * have // size for size, have in zip(_SHAPE, voxels.shape, strict=True))
    return voxels[np.ix_(*places)]


def _measure_masks(volume: Volume, labels: npt.NDArray[np.uint8], folder: Path, *, is_alone: bool) -> None:
    organs, provenance = Organs(labels, _GEOMETRY, list_segments(labels, _NAMES), "cd" * 32), _make_provenance()
    print(f"{len(organs.segments)} organs")
    _measure("masks, NIfTI", lambda path: write_mask_nifti(path, organs, _MAKER), folder)
    _measure("masks, DICOM", lambda path: write_segmentation(path, organs, provenance), folder)
    _measure("masks, picture", lambda path: path.write_bytes(render_outlines(volume, labels, _NAMES, "")), folder)
    if is_alone:
        _measure("masks, DICOM, highdicom alone", lambda path: _write_alone(path, organs, provenance), folder)


def _write_alone(path: Path, organs: Organs, provenance: Provenance) -> None:
    numbers = np.zeros(256, np.uint8)
    numbers[[segment.label for segment in organs.segments]] = np.arange(1, len(organs.segments) + 1)
    made = make_segmentation(replace(organs, labels=numbers[organs.labels]), provenance)
    buffer = io.BytesIO()
    made.save_as(buffer)
    path.write_bytes(buffer.getvalue())


def _measure_map(volume: Volume, folder: Path) -> None:
    found, provenance = _MapInMemory(), _make_provenance()
    _measure("map, NIfTI", lambda path: write_map_nifti(path, found, _GEOMETRY, _MAKER), folder)
    _measure(
        "map, DICOM", lambda path: write_parametric_map(path, find_looked_at(found, _GEOMETRY), provenance), folder
    )
    _measure("map, picture", lambda path: path.write_bytes(render_montage(volume, found.map_hu, [], "")), folder)


def _measure(name: str, write: Callable[[Path], object], folder: Path) -> None:
    path = folder / "rendering"
    started = time.process_time()
    write(path)
    print(f"{name}: {time.process_time() - started:.1f} s, {path.stat().st_size / _MIB:.1f} MiB", flush=True)


def _make_provenance() -> Provenance:
    depth, rows, columns = _SHAPE
    heights = _GEOMETRY.origin_lps_mm[2] + np.arange(depth)
    images = tuple(SourceImage(f"1.2.6.{z}", (-192.0, -192.0, float(height))) for z, height in enumerate(heights))
    source = SourceSeries(
        study_uid="1.2.3",
        series_uid="1.2.4",
        frame_of_reference_uid="1.2.5",
        sop_class_uid="1.2.840.10008.5.1.4.1.1.2",
        rows=rows,
        columns=columns,
        spacing_yx_mm=_GEOMETRY.spacing_zyx_mm[1:],
        row_direction=_GEOMETRY.row_direction,
        column_direction=_GEOMETRY.column_direction,
        images=images,
    )
    return Provenance(_MAKER, source, datetime.now(UTC))


if __name__ == "__main__":
    main()
