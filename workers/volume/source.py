"""Which images a volume was made of: their UIDs and positions, so that what we make of it can refer to them.

This, and what refers to the images in DICOM, is all that holds UIDs (docs/adr/0013-dicom-outputs.md); nothing in it
is the patient's. Positions are LPS, in millimetres.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from shared.errors import Defect
from workers.volume.geometry import Triple

MEDIA_TYPE = "application/json"


@dataclass(frozen=True)
class SourceImage:
    """One slice. `frame` counts from 1 in a multi-frame instance, and is None where the instance is the slice."""

    sop_instance_uid: str
    position_lps_mm: Triple
    frame: int | None = None


@dataclass(frozen=True)
class SourceSeries:
    """The slices of a DICOM series that a volume was made of, in the order of ascending z of the volume.

    Image i is slice i of the volume unless the volume was resampled from images that are uneven or lean.
    """

    study_uid: str
    series_uid: str
    frame_of_reference_uid: str
    sop_class_uid: str
    rows: int
    columns: int
    spacing_yx_mm: tuple[float, float]
    row_direction: Triple
    column_direction: Triple
    images: tuple[SourceImage, ...]
    is_resampled: bool = False


_ADAPTER = TypeAdapter(SourceSeries)


def write_source(path: Path, source: SourceSeries) -> None:
    """Write a series as JSON."""
    path.write_bytes(_ADAPTER.dump_json(source))


def read_source(path: Path) -> SourceSeries:
    """Read what `write_source` wrote."""
    try:
        return _ADAPTER.validate_json(path.read_bytes())
    except ValidationError as error:
        raise Defect("source series artefact cannot be read") from error
