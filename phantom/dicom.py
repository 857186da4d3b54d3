"""Phantom studies as DICOM: CT Image Storage (PS3.3 A.3), explicit little endian, one file per slice.

Everything in a file follows from the study, so the same study gives the same bytes. Nobody can mistake it for a
patient: name, id and descriptions say that it is synthetic.
"""

from __future__ import annotations

import hashlib
import json
import math
import zipfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import date, timedelta
from io import BytesIO
from pathlib import Path
from uuid import UUID

from pydicom import Dataset, dcmwrite
from pydicom.dataset import FileMetaDataset
from pydicom.uid import UID, CTImageStorage, ExplicitVRLittleEndian

from phantom.canvas import Point
from phantom.gantry import find_column_direction
from phantom.study import Study

_INTERCEPT_HU = -1024
_ZIP_TIME = (1980, 1, 1, 0, 0, 0)
_FIRST_DAY = date(2020, 1, 1)


@dataclass(frozen=True)
class StudyUids:
    """The UIDs of a phantom, made from its content: equal studies have equal UIDs, others never."""

    study: UID
    series: UID
    frame_of_reference: UID
    digest: str

    def make_instance_uid(self, index: int) -> UID:
        """Return the SOPInstanceUID of the slice at index z."""
        return _make_uid(self.digest, f"instance {index}")


def make_uids(study: Study) -> StudyUids:
    """Derive the UIDs of a study from its voxels, geometry and ground truth."""
    facts = {
        "seed": study.seed,
        "spacing": study.spacing_zyx_mm,
        "origin": study.origin_lps_mm,
        "kernel": study.kernel,
        "findings": [asdict(finding) for finding in study.findings],
    }
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode())
    digest.update(study.hu.tobytes())
    name = digest.hexdigest()
    return StudyUids(_make_uid(name, "study"), _make_uid(name, "series"), _make_uid(name, "frame"), name)


def write_zip(study: Study, path: Path) -> None:
    """Write the study as a ZIP of DICOM files; the bytes depend on the study only."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, content in encode_slices(study):
            entry = zipfile.ZipInfo(f"DICOM/{name}", _ZIP_TIME)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, content)


def write_series(study: Study, folder: Path) -> list[Path]:
    """Write one DICOM file per slice into a folder, made if absent; return the files from feet to head."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, content in encode_slices(study):
        path = folder / name
        path.write_bytes(content)
        paths.append(path)
    return paths


def encode_slices(study: Study) -> Iterator[tuple[str, bytes]]:
    """Yield name and content of each file of a study, from feet to head."""
    uids = make_uids(study)
    dataset = _make_dataset(study, uids)
    count = len(study.hu)
    for index in range(count):
        # Numbered from the head, as scanners do; so instance numbers run against ascending z.
        number = count - index
        _set_slice(dataset, study, uids, index, number)
        buffer = BytesIO()
        dcmwrite(buffer, dataset, enforce_file_format=True)
        yield f"IM{number:06d}.dcm", buffer.getvalue()


def _make_dataset(study: Study, uids: StudyUids) -> Dataset:
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.MediaStorageSOPClassUID = CTImageStorage
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    _set_patient_and_study(dataset, study, uids)
    _set_series_and_equipment(dataset, study, uids)
    _set_image_plane(dataset, study)
    _set_pixel_description(dataset, study)
    return dataset


def _set_patient_and_study(dataset: Dataset, study: Study, uids: StudyUids) -> None:
    day = f"{_FIRST_DAY + timedelta(days=study.seed % 1461):%Y%m%d}"
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.PatientName = f"Phantom^Synthetic {study.seed}"
    dataset.PatientID = f"PHANTOM-{study.seed}"
    dataset.PatientBirthDate = ""
    dataset.PatientSex = "M" if study.is_male else "F"
    dataset.PatientAge = f"{study.age_years:03d}Y"
    dataset.PatientIdentityRemoved = "YES"
    dataset.DeidentificationMethod = "Procedural phantom: there is no patient"
    dataset.StudyInstanceUID = uids.study
    dataset.StudyDate = dataset.SeriesDate = dataset.AcquisitionDate = dataset.ContentDate = day
    dataset.StudyTime = dataset.SeriesTime = dataset.AcquisitionTime = dataset.ContentTime = "120000"
    dataset.ReferringPhysicianName = ""
    dataset.StudyID = str(study.seed % 10**16)
    dataset.AccessionNumber = ""
    dataset.StudyDescription = "SYNTHETIC CHEST CT (PHANTOM)"


def _set_series_and_equipment(dataset: Dataset, study: Study, uids: StudyUids) -> None:
    dataset.Modality = "CT"
    dataset.SeriesInstanceUID = uids.series
    dataset.SeriesNumber = 1
    dataset.SeriesDescription = f"PHANTOM {study.slice_thickness_mm:.2f} {study.kernel}"
    dataset.BodyPartExamined = "CHEST"
    dataset.PatientPosition = "HFS"
    dataset.FrameOfReferenceUID = uids.frame_of_reference
    dataset.PositionReferenceIndicator = ""
    dataset.Manufacturer = study.manufacturer
    dataset.ManufacturerModelName = "Procedural phantom"
    dataset.SoftwareVersions = "ctclip phantom"
    dataset.ConvolutionKernel = study.kernel
    dataset.KVP = str(study.tube_voltage_kv)
    dataset.SliceThickness = _format(study.slice_thickness_mm)
    tilt = study.gantry_tilt_degrees
    dataset.SpacingBetweenSlices = _format(study.spacing_zyx_mm[0] * math.cos(math.radians(tilt)))
    dataset.GantryDetectorTilt = _format(tilt)


def _set_image_plane(dataset: Dataset, study: Study) -> None:
    _, spacing_y, spacing_x = study.spacing_zyx_mm
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    dataset.AcquisitionNumber = 1
    down = find_column_direction(study.gantry_tilt_degrees)
    dataset.ImageOrientationPatient = ["1", "0", "0", *map(_format, down)]
    dataset.PixelSpacing = [_format(spacing_y), _format(spacing_x)]
    dataset.PatientOrientation = ["L", _name_direction(down)]
    dataset.BurnedInAnnotation = "NO"
    dataset.LossyImageCompression = "00"


def _set_pixel_description(dataset: Dataset, study: Study) -> None:
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.Rows, dataset.Columns = study.hu.shape[1:]
    dataset.BitsAllocated = dataset.BitsStored = 16
    dataset.HighBit = 15
    dataset.PixelRepresentation = 1
    dataset.RescaleIntercept = str(_INTERCEPT_HU)
    dataset.RescaleSlope = "1"
    dataset.RescaleType = "HU"
    dataset.WindowCenter, dataset.WindowWidth = "-600", "1500"
    if study.padding_hu is not None:
        dataset.PixelPaddingValue = study.padding_hu - _INTERCEPT_HU


def _set_slice(dataset: Dataset, study: Study, uids: StudyUids, index: int, number: int) -> None:
    x, y, bottom = study.origin_lps_mm
    z = bottom + index * study.spacing_zyx_mm[0]
    dataset.SOPClassUID = CTImageStorage
    dataset.SOPInstanceUID = uids.make_instance_uid(index)
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.InstanceNumber = number
    dataset.ImagePositionPatient = [_format(x), _format(y), _format(z)]
    dataset.SliceLocation = _format(z)
    dataset.PixelData = (study.hu[index] - _INTERCEPT_HU).astype("<i2").tobytes()


def _name_direction(down: Point) -> str:
    """Return what lies down a column: the back, and also head or feet where the planes lean (PS3.3 C.7.6.1.1.1)."""
    return "P" if down[2] == 0 else "PH" if down[2] > 0 else "PF"


def _format(value: float) -> str:
    """Write a decimal string of at most 16 characters (PS3.5, DS)."""
    return f"{value:.6f}".rstrip("0").rstrip(".")


def _make_uid(digest: str, subject: str) -> UID:
    value = hashlib.sha256(f"{digest} {subject}".encode()).digest()
    return UID(f"2.25.{UUID(bytes=value[:16], version=5).int}")
