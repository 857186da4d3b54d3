"""DICOM files of a phantom: valid, true to the study, and the same bytes each time."""

from __future__ import annotations

import io
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset, dcmread
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from phantom.dicom import make_uids, write_series, write_zip
from phantom.study import PhantomSettings, Study, make_study
from tests.phantom.conftest import MakeStudy

# Type 1 and 2 attributes of the modules of the CT Image IOD (PS3.3 A.3.3), those with a fixed value left out.
TYPE_1 = """
    SOPClassUID SOPInstanceUID StudyInstanceUID SeriesInstanceUID Modality FrameOfReferenceUID PixelSpacing
    ImageOrientationPatient ImagePositionPatient ImageType SamplesPerPixel PhotometricInterpretation Rows Columns
    BitsAllocated BitsStored HighBit PixelRepresentation PixelData RescaleIntercept RescaleSlope RescaleType
"""
TYPE_2 = """
    PatientName PatientID PatientBirthDate PatientSex StudyDate StudyTime ReferringPhysicianName StudyID
    AccessionNumber SeriesNumber PositionReferenceIndicator Manufacturer InstanceNumber SliceThickness KVP
    AcquisitionNumber PatientPosition
"""


@pytest.fixture(scope="module")
def study(studies: MakeStudy) -> Study:
    return studies(7, "pleural_effusion")


@pytest.fixture(scope="module")
def files(study: Study, tmp_path_factory: pytest.TempPathFactory) -> list[Dataset]:
    """The series read back, from feet to head."""
    paths = write_series(study, tmp_path_factory.mktemp("series") / "new")
    return [dcmread(path) for path in paths]


class TestFiles:
    def test_each_has_all_required_attributes(self, files: list[Dataset]) -> None:
        for file in files:
            assert all(file[keyword].value not in (None, "") for keyword in TYPE_1.split())
            assert all(keyword in file for keyword in TYPE_2.split())

    def test_they_are_ct_images_in_explicit_little_endian(self, files: list[Dataset]) -> None:
        assert {file.file_meta.TransferSyntaxUID for file in files} == {ExplicitVRLittleEndian}
        assert {file.SOPClassUID for file in files} == {CTImageStorage}
        assert {file.file_meta.MediaStorageSOPInstanceUID for file in files} == {f.SOPInstanceUID for f in files}

    def test_hounsfield_units_survive(self, study: Study, files: list[Dataset]) -> None:
        hu = [file.pixel_array * int(file.RescaleSlope) + int(file.RescaleIntercept) for file in files]
        assert np.array_equal(np.stack(hu), study.hu)

    def test_geometry_survives(self, study: Study, files: list[Dataset]) -> None:
        positions = np.asarray([file.ImagePositionPatient for file in files], dtype=float)
        assert np.allclose(positions[0], study.origin_lps_mm, atol=1e-5)
        assert np.allclose(np.diff(positions, axis=0), (0, 0, study.spacing_zyx_mm[0]), atol=1e-5)
        assert all(np.allclose(np.asarray(f.PixelSpacing, dtype=float), study.spacing_zyx_mm[1:]) for f in files)
        assert all(list(file.ImageOrientationPatient) == [1, 0, 0, 0, 1, 0] for file in files)

    def test_instance_numbers_run_from_the_head(self, files: list[Dataset]) -> None:
        assert [int(file.InstanceNumber) for file in files] == list(range(len(files), 0, -1))

    def test_uids_are_valid_and_instances_differ(self, files: list[Dataset]) -> None:
        assert len({file.SOPInstanceUID for file in files}) == len(files)
        for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID"):
            assert len({file[keyword].value for file in files}) == 1
        for file in files:
            assert file.SOPInstanceUID.is_valid
            assert len({file.StudyInstanceUID, file.SeriesInstanceUID, file.FrameOfReferenceUID}) == 3

    def test_nobody_takes_it_for_a_patient(self, files: list[Dataset]) -> None:
        assert files[0].PatientID == "PHANTOM-7"
        assert str(files[0].PatientName).startswith("Phantom^Synthetic")
        assert files[0].PatientIdentityRemoved == "YES"
        assert "SYNTHETIC" in files[0].StudyDescription

    def test_the_scanner_is_described(self, study: Study, files: list[Dataset]) -> None:
        assert files[0].ConvolutionKernel == study.kernel
        assert files[0].Manufacturer == study.manufacturer
        assert float(files[0].SliceThickness) == study.slice_thickness_mm

    def test_padding_is_declared_and_fits_its_type(self, tmp_path: Path) -> None:
        padded = make_study(7, (), replace(PhantomSettings.coarse(), has_padding=True, matrix=64))
        file = dcmread(write_series(padded, tmp_path)[0])
        assert file.PixelPaddingValue == file.pixel_array[0, 0] == -2000


class TestUids:
    def test_equal_studies_have_equal_uids(self, study: Study) -> None:
        again = make_study(7, ("pleural_effusion",), PhantomSettings.coarse())
        assert make_uids(again) == make_uids(study)

    @pytest.mark.parametrize("other", [(8, "pleural_effusion"), (7,), (7, "mass")], ids=str)
    def test_other_studies_have_other_uids(self, studies: MakeStudy, study: Study, other: tuple[int, str]) -> None:
        assert make_uids(studies(*other)).study != make_uids(study).study


class TestZip:
    def test_the_bytes_repeat(self, study: Study, tmp_path: Path) -> None:
        paths = [tmp_path / "first.zip", tmp_path / "second.zip"]
        for path in paths:
            write_zip(study, path)
        assert paths[0].read_bytes() == paths[1].read_bytes()

    def test_it_holds_the_series_and_nothing_else(self, study: Study, files: list[Dataset], tmp_path: Path) -> None:
        write_zip(study, tmp_path / "study.zip")
        with zipfile.ZipFile(tmp_path / "study.zip") as archive:
            assert archive.testzip() is None
            read = [dcmread(io.BytesIO(archive.read(name))) for name in archive.namelist()]
        assert read == files
