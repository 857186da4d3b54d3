"""Real archives: voxels exact to the bit, geometry, and the right refusal of each kind."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import numpy as np
import pydicom
import pytest

from tests.hostile.packing import Files, MemorySource, edit, get_code, pack, read, unpack
from workers.intake.archive import ExpansionBudget, open_zip
from workers.intake.assembly import Assembled, assemble
from workers.intake.limits import IntakeLimits
from workers.intake.slices import SliceReader
from workers.intake.stacks.grouping import group_into_stacks
from workers.intake.study_files import Looker, StudyFiles

GOLDEN = Path(__file__).parents[2] / "golden" / "dicom"
CHEST = Path(__file__).parents[3] / "deploy" / "demo" / "chest_covid_small.zip"


def assemble_first(archive: bytes, scratch: Path) -> Assembled:
    """Decode the first stack of an archive, whatever would be said of it."""
    limits = IntakeLimits()
    found = StudyFiles()
    Looker(found, ExpansionBudget(limits.archive_bytes)).look_at(
        open_zip(MemorySource(archive), limits), lambda _share: None
    )
    stacks = group_into_stacks(found.images, lambda _image: b"").stacks
    with SliceReader(found.members, ExpansionBudget(limits.archive_bytes), scratch) as slices:
        return assemble(stacks[0], slices, limits.threads, lambda _share: None)


def digest(assembled: Assembled) -> str:
    return hashlib.sha256(assembled.hu.astype("<i2").tobytes()).hexdigest()


class TestBundledChest:
    def test_voxels_and_geometry_are_exact(self, tmp_path: Path) -> None:
        report = read(CHEST.read_bytes(), tmp_path).report
        assert report.is_accepted
        assert report.chosen is not None
        assert report.hu is not None
        assert report.chosen.shape_zyx == (124, 256, 256)
        assert report.chosen.spacing_zyx_mm == pytest.approx((2.5, 1.40625, 1.40625), abs=1e-6)
        assert report.chosen.origin_lps_mm == pytest.approx((-171.648438, -156.148438, -19.875), abs=1e-6)
        assert (report.hu.min, report.hu.max) == (-1024, 3071)
        assert report.hu.mean == pytest.approx(-556.8403680862918, abs=1e-9)
        assert report.hu.sha256_int16_zyx == "39411ea46570d0558f1aefda1a3c686785b83d9afa5ba93734f2d08e49c11672"

    def test_nothing_tells_who_the_patient_is(self, tmp_path: Path) -> None:
        read_study = read(CHEST.read_bytes(), tmp_path)
        assert read_study.volume is not None
        assert "MIDRC-RICORD" not in repr(read_study.report)
        assert "MIDRC-RICORD" not in repr(read_study.volume.facts)

    def test_a_reformat_beside_it_is_never_chosen(self, tmp_path: Path) -> None:
        chest = unpack(CHEST)
        first = pydicom.dcmread(io.BytesIO(next(iter(chest.values()))), stop_before_pixels=True)

        def join_study(dataset: pydicom.Dataset) -> None:
            dataset.StudyInstanceUID, dataset.PatientID = first.StudyInstanceUID, first.PatientID

        sagittal = edit(unpack(GOLDEN / "sagittal_reformat_4.zip"), join_study)
        report = read(pack({**sagittal, **chest}), tmp_path).report
        assert report.chosen is not None
        assert report.chosen.series_uid == first.SeriesInstanceUID
        assert len(report.candidates) == 3


class TestRefusals:
    def test_an_abdomen_has_no_lungs(self, tmp_path: Path) -> None:
        assert get_code((GOLDEN / "abdomen_siemens_20.zip").read_bytes(), tmp_path) == "no_lungs_found"

    def test_the_abdomen_is_decoded_to_the_bit_all_the_same(self, tmp_path: Path) -> None:
        assembled = assemble_first((GOLDEN / "abdomen_siemens_20.zip").read_bytes(), tmp_path)
        assert digest(assembled) == "0d9f62d8433a424e582d5a4478ba5af0eff3f5c3589fc90af21b0c448fd0ff5e"
        assert assembled.geometry.origin_lps_mm == (-249.51171875, -437.51171875, -804.5)

    def test_sagittal_reformats(self, tmp_path: Path) -> None:
        report = read((GOLDEN / "sagittal_reformat_4.zip").read_bytes(), tmp_path).report
        assert report.problem is not None
        assert report.problem.code == "no_usable_series"
        assert [candidate.facts["slices"] for candidate in report.candidates] == [3, 1]

    @pytest.mark.parametrize("name", ["lidc_0001_3.zip", "lidc_0002_3.zip"])
    def test_a_few_slices_of_a_chest(self, tmp_path: Path, name: str) -> None:
        assert get_code((GOLDEN / name).read_bytes(), tmp_path) == "insufficient_coverage"

    def test_two_patients_in_one_archive(self, tmp_path: Path) -> None:
        both = Files()
        for name in ("lidc_0001_3.zip", "lidc_0002_3.zip"):
            both.update({f"{name}/{inner}": content for inner, content in unpack(GOLDEN / name).items()})
        assert get_code(pack(both), tmp_path) == "mixed_studies"

    @pytest.mark.parametrize(
        ("name", "code"),
        [
            ("CT_small.dcm", "insufficient_coverage"),
            ("693_J2KR.dcm", "insufficient_coverage"),
            ("bad_sequence.dcm", "insufficient_coverage"),
            ("eCT_Supplemental.dcm", "insufficient_coverage"),
            ("J2K_pixelrep_mismatch.dcm", "no_usable_series"),
            ("MR_small_bigendian.dcm", "wrong_modality"),
            ("emri_small.dcm", "wrong_modality"),
            ("SC_rgb.dcm", "wrong_modality"),
        ],
    )
    def test_single_files(self, tmp_path: Path, name: str, code: str) -> None:
        assert get_code(pack({name: (GOLDEN / name).read_bytes()}), tmp_path) == code


class TestTrickyPixels:
    def test_the_dataset_decides_the_sign_of_a_jpeg_2000_stream(self, tmp_path: Path) -> None:
        name = "J2K_pixelrep_mismatch.dcm"
        assembled = assemble_first(pack({name: (GOLDEN / name).read_bytes()}), tmp_path)
        assert (assembled.hu.min(), assembled.hu.max()) == (-2000, 1896)
        assert 0 < np.median(assembled.hu[assembled.hu > -200]) < 100

    def test_an_enhanced_file_gives_both_of_its_frames(self, tmp_path: Path) -> None:
        name = "eCT_Supplemental.dcm"
        assembled = assemble_first(pack({name: (GOLDEN / name).read_bytes()}), tmp_path)
        assert assembled.hu.shape == (2, 512, 512)
        assert assembled.geometry.spacing_zyx_mm[0] == pytest.approx(10.0)
