"""An anomaly map as a DICOM parametric map (PS3.3 A.75): one frame for each slice that was looked at, in HU.

Not a secondary capture: that would be a picture without a place, and its numbers would be colours. A parametric map
lies on the scan's own images, and viewers lay it over them. Values are stored in tenths of a HU as integers: floating
point pixels are read by few.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from highdicom import VOILUTTransformation
from highdicom.pm import ParametricMap, RealWorldValueMapping
from pydicom.sr.codedict import codes

from workers.renderings.deflated import DeflatedFile, encode
from workers.renderings.dicom import (
    MANUFACTURER,
    Provenance,
    complete,
    fit,
    lay_planes,
    make_source_images,
    make_uid,
    name_dimensions,
)
from workers.volume import Geometry

HU_PER_STEP = 0.1

_SERIES_NUMBER = 9002
_LARGEST = np.iinfo(np.uint16).max


@dataclass(frozen=True)
class SparseMap:
    """Slices (n, y, x) of a volume of `depth` slices in HU, NaN beside what was looked at, and their numbers z."""

    slices_hu: npt.NDArray[np.float32]
    numbers: npt.NDArray[np.intp]
    depth: int
    geometry: Geometry
    digest: str


def write_parametric_map(path: Path, sparse: SparseMap, provenance: Provenance) -> None:
    """Write the slices of a map. Equal maps give equal files, but for the time of making."""
    maker, source = provenance.maker, provenance.source
    stored = np.rint(np.nan_to_num(sparse.slices_hu) / HU_PER_STEP).clip(0, _LARGEST).astype(np.uint16)
    planes = lay_planes(source, sparse.geometry, sparse.depth)
    series_uid = make_uid("anomaly map", source.series_uid, maker.digest)
    largest = max(int(stored.max()), 1)
    made = ParametricMap(
        source_images=make_source_images(source, sparse.geometry),
        pixel_array=stored,
        series_instance_uid=series_uid,
        series_number=_SERIES_NUMBER,
        sop_instance_uid=make_uid("anomaly map", series_uid, sparse.digest),
        instance_number=1,
        manufacturer=MANUFACTURER,
        manufacturer_model_name=fit(maker.name),
        software_versions=fit(maker.version),
        device_serial_number=fit(maker.digest),
        contains_recognizable_visual_features=False,
        real_world_value_mappings=[_map_to_hu()],
        voi_lut_transformations=[VOILUTTransformation(window_center=largest / 2, window_width=float(largest))],
        content_label="ANOMALY",
        content_description=maker.caution,
        series_description=fit(f"Difference to healthy by {maker.name}"),
        plane_positions=[planes.positions[number] for number in sparse.numbers],
        plane_orientation=planes.orientation,
        pixel_measures=planes.measures,
    )
    complete(made, provenance)
    name_dimensions(made)
    with DeflatedFile(path, made.file_meta) as file:
        file.write(encode(made))


def _map_to_hu() -> RealWorldValueMapping:
    return RealWorldValueMapping(
        lut_label="HU",
        lut_explanation="Absolute difference to the reconstruction in HU",
        unit=codes.UCUM.HounsfieldUnit,
        value_range=(0, _LARGEST),
        slope=HU_PER_STEP,
        intercept=0.0,
    )
