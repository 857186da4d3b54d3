"""What all our DICOM objects share: UIDs that follow from the content, references to the scan, and who made them.

An object names no patient: these attributes are empty, and it says so. It keeps the UIDs of the study, else nothing
could tell which scan it belongs to (PS3.15 E.3.9, docs/adr/0013-dicom-outputs.md).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from highdicom import (
    CoordinateSystemNames,
    PixelMeasuresSequence,
    PlaneOrientationSequence,
    PlanePositionSequence,
)
from highdicom.sr import CodedConcept
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.uid import UID
from pydicom.valuerep import format_number_as_ds

from workers.renderings.maker import Maker
from workers.volume import Geometry
from workers.volume.source import SourceSeries

MEDIA_TYPE = "application/dicom"
MANUFACTURER = "CT-CLIP Inference"

_EMPTY = (
    *("PatientID", "PatientName", "PatientBirthDate", "PatientSex"),
    *("StudyID", "StudyDate", "StudyTime", "AccessionNumber", "ReferringPhysicianName", "PositionReferenceIndicator"),
)
_UUID_BITS = 128
_LONGEST_TEXT = 64
_FAR_AWAY_MM = (1e6, 1e6, 1e6)


@dataclass(frozen=True)
class Provenance:
    """What an object tells of its making beside its content."""

    maker: Maker
    source: SourceSeries
    made_at: datetime


def make_uid(*parts: str) -> UID:
    """Return the UID that follows from some texts: the same ones always give the same (2.25 and a hashed UUID)."""
    digest = hashlib.sha256("\n".join(parts).encode()).digest()
    return UID(f"2.25.{int.from_bytes(digest[: _UUID_BITS // 8], 'big')}")


def fit(text: str) -> str:
    """Return a text as the representation LO holds it: 64 characters at most, ASCII, one value."""
    return text.encode("ascii", "replace").decode().replace("\\", "/")[:_LONGEST_TEXT]


def make_source_images(source: SourceSeries, geometry: Geometry) -> list[Dataset]:
    """Return the images of a scan as far as references and geometry need them: no pixels, no patient."""
    if source.images[0].frame is None:
        return [_make_slice(source, geometry, place) for place in range(len(source.images))]
    return [_make_multi_frame(source, geometry)]


@dataclass(frozen=True)
class Planes:
    """Where the slices of a volume lie, as DICOM has it: positions for each slice, the rest for all of them."""

    positions: list[PlanePositionSequence]
    orientation: PlaneOrientationSequence
    measures: PixelMeasuresSequence


def lay_planes(source: SourceSeries, geometry: Geometry, depth: int) -> Planes:
    """Return where the slices of a volume lie: exactly where the images do that they are, to the last digit."""
    if source.is_resampled:
        affine = geometry.compute_affine_lps()
        places = [tuple((affine @ (0, 0, z, 1))[:3]) for z in range(depth)]
    else:
        places = [image.position_lps_mm for image in source.images]
    patient = CoordinateSystemNames.PATIENT
    spacing_z_mm, *spacing_yx_mm = geometry.spacing_zyx_mm
    return Planes(
        [PlanePositionSequence(patient, [float(each) for each in place]) for place in places],
        PlaneOrientationSequence(patient, [*geometry.row_direction, *geometry.column_direction]),
        PixelMeasuresSequence(spacing_yx_mm, spacing_z_mm, spacing_z_mm),
    )


def complete(dataset: Dataset, provenance: Provenance) -> None:
    """Write what all our objects say of themselves."""
    dataset.PatientIdentityRemoved = "YES"
    dataset.DeidentificationMethod = "Basic profile, UIDs retained"
    dataset.DeidentificationMethodCodeSequence = [
        CodedConcept.from_code(code)
        for code in (codes.DCM.BasicApplicationConfidentialityProfile, codes.DCM.RetainUidsOption)
    ]
    dataset.LongitudinalTemporalInformationModified = "REMOVED"
    dataset.BurnedInAnnotation = "NO"
    for name in ("Content", "InstanceCreation", "Series"):
        setattr(dataset, f"{name}Date", provenance.made_at.strftime("%Y%m%d"))
        setattr(dataset, f"{name}Time", provenance.made_at.strftime("%H%M%S"))
    for equipment in dataset.ContributingEquipmentSequence:
        equipment.ContributionDateTime = provenance.made_at.strftime("%Y%m%d%H%M%S")


def name_dimensions(dataset: Dataset) -> None:
    """Give the dimensions of a multi-frame object a UID that follows from its own, instead of a random one."""
    uid = make_uid("dimensions", dataset.SOPInstanceUID)
    for item in (*dataset.DimensionOrganizationSequence, *dataset.DimensionIndexSequence):
        item.DimensionOrganizationUID = uid


def _make_common(source: SourceSeries) -> Dataset:
    dataset = Dataset()
    for keyword in _EMPTY:
        setattr(dataset, keyword, "")
    dataset.SOPClassUID, dataset.Modality = source.sop_class_uid, "CT"
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = source.study_uid, source.series_uid
    dataset.FrameOfReferenceUID = source.frame_of_reference_uid
    dataset.Rows, dataset.Columns = source.rows, source.columns
    return dataset


def _make_slice(source: SourceSeries, geometry: Geometry, place: int) -> Dataset:
    dataset, image = _make_common(source), source.images[place]
    dataset.SOPInstanceUID = image.sop_instance_uid
    dataset.update(_make_measures(source, geometry))
    dataset.ImageOrientationPatient = _make_orientation(source)
    dataset.ImagePositionPatient = _round(image.position_lps_mm)
    return dataset


def _make_multi_frame(source: SourceSeries, geometry: Geometry) -> Dataset:
    """Return an instance with its frames in stored order; those that the volume was not made of lie far away."""
    dataset = _make_common(source)
    dataset.SOPInstanceUID = source.images[0].sop_instance_uid
    positions = {image.frame: image.position_lps_mm for image in source.images if image.frame is not None}
    dataset.NumberOfFrames = max(positions)
    shared, orientation = Dataset(), Dataset()
    orientation.ImageOrientationPatient = _make_orientation(source)
    shared.PlaneOrientationSequence = [orientation]
    shared.PixelMeasuresSequence = [_make_measures(source, geometry)]
    dataset.SharedFunctionalGroupsSequence = [shared]
    dataset.PerFrameFunctionalGroupsSequence = [
        _make_frame(positions.get(frame, _FAR_AWAY_MM)) for frame in range(1, max(positions) + 1)
    ]
    return dataset


def _make_frame(position_lps_mm: Sequence[float]) -> Dataset:
    item, position = Dataset(), Dataset()
    position.ImagePositionPatient = _round(position_lps_mm)
    item.PlanePositionSequence = [position]
    return item


def _make_measures(source: SourceSeries, geometry: Geometry) -> Dataset:
    measures = Dataset()
    measures.PixelSpacing = _round(source.spacing_yx_mm)
    measures.SliceThickness = _round(geometry.spacing_zyx_mm[:1])[0]
    measures.SpacingBetweenSlices = measures.SliceThickness
    return measures


def _make_orientation(source: SourceSeries) -> list[str]:
    return _round((*source.row_direction, *source.column_direction))


def _round(values: Sequence[float]) -> list[str]:
    """Return numbers as decimal strings, which have room for 16 characters."""
    return [format_number_as_ds(float(value)) for value in values]
