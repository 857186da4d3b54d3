"""The study that all contenders read: 512 x 512 slices, from a phantom or from a study that the user names."""

from __future__ import annotations

import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pydicom import Dataset, dcmread
from pydicom.uid import UID, ExplicitVRLittleEndian, generate_uid

from phantom.dicom import write_series
from phantom.study import PhantomSettings, make_study
from workers.intake.archive import FileSource
from workers.intake.limits import IntakeLimits
from workers.intake.question import Question
from workers.intake.study import read_study

_SEED = 3
_MATRIX = 512
_CHEST_MM = 360.0  # height of the phantom of that seed, a little less than it is
_LOWEST_STORED_HU = -1024


@dataclass(frozen=True)
class SourceStudy:
    """HU as int16 (z, y, x), a dataset whose header all slices share, and their spacing and first height in mm."""

    hu: npt.NDArray[np.int16]
    header: Dataset
    spacing_mm: float

    def iterate_slices(self) -> Iterator[Dataset]:
        """Yield the slices from feet to head, uncompressed; the same object each time.

        They are numbered from the head, as scanners do.
        """
        dataset, count = self.header, len(self.hu)
        lowest = min(_LOWEST_STORED_HU, int(self.hu.min()))
        _describe_pixels(dataset, lowest, int(self.hu.max()))
        x, y, bottom = (float(value) for value in dataset.ImagePositionPatient)
        for index, plane in enumerate(self.hu):
            dataset.ImagePositionPatient = [f"{x:.4f}", f"{y:.4f}", f"{bottom + index * self.spacing_mm:.4f}"]
            dataset.SliceLocation = dataset.ImagePositionPatient[2]
            dataset.InstanceNumber = count - index
            dataset.SOPInstanceUID = generate_uid(entropy_srcs=[str(dataset.SeriesInstanceUID), str(index)])
            dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
            dataset.file_meta.TransferSyntaxUID = UID(ExplicitVRLittleEndian)
            dataset.PixelData = (plane.astype(np.int32) - lowest).astype("<u2").tobytes()
            dataset["PixelData"].VR = "OW"
            yield dataset


def _describe_pixels(dataset: Dataset, lowest_hu: int, highest_hu: int) -> None:
    """Describe 12 bits unsigned, as most scanners store, or 16 where the study needs them."""
    dataset.RescaleIntercept, dataset.RescaleSlope = str(lowest_hu), "1"
    dataset.BitsAllocated, dataset.PixelRepresentation = 16, 0
    dataset.BitsStored = 12 if highest_hu - lowest_hu < 1 << 12 else 16
    dataset.HighBit = dataset.BitsStored - 1


def make_phantom(slices: int) -> SourceStudy:
    """Make a phantom of exactly that many slices, with the noise of an everyday kernel."""
    spacing_mm = round(_CHEST_MM / slices, 2)
    settings = PhantomSettings(matrix=_MATRIX, slice_spacing_mm=(spacing_mm, spacing_mm), kernels=("STANDARD",))
    study = make_study(_SEED, (), settings)
    with tempfile.TemporaryDirectory() as folder:
        header = dcmread(write_series(study, Path(folder))[0])
    return SourceStudy(study.hu[:slices], header, spacing_mm)


def replicate(path: Path, slices: int) -> SourceStudy:
    """Take the best series of a study with its own header, and mirror it at its end until there are enough slices."""
    with FileSource(path) as source, tempfile.TemporaryDirectory() as scratch:
        limits, question = IntakeLimits(), Question()
        study = read_study(source, question, limits, scratch=Path(scratch), report=lambda _share: None)
    if study.volume is None or study.report.chosen is None:
        raise SystemExit(f"{path} is refused by our own intake; name another study.")
    order = np.pad(np.arange(len(study.volume.hu)), (0, max(0, slices - len(study.volume.hu))), mode="symmetric")
    spacing_mm = study.volume.geometry.spacing_zyx_mm[0]
    return SourceStudy(study.volume.hu[order[:slices]], _find_header(path, study.report.chosen.series_uid), spacing_mm)


def _find_header(path: Path, series_uid: str) -> Dataset:
    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            dataset = dcmread(BytesIO(archive.read(name)), force=True)
            if dataset.get("SeriesInstanceUID") == series_uid:
                dataset.pop("PixelPaddingValue", None)
                return dataset
    raise SystemExit(f"{path} does not hold the series that our own intake chose.")
