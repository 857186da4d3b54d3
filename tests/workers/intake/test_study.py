"""Whole studies: several series, what is forced, what is tried next. test_permutations.py has the order of files."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pydicom
import pytest

from tests.hostile.packing import Files, edit, pack, read, unpack
from workers.intake.files import FileCode, FileOutcome
from workers.intake.report import IntakeReport


@pytest.fixture(scope="module")
def good_files(phantom_zip: Path) -> Files:
    return unpack(phantom_zip)


def make_sibling(files: Files, series_uid: str, kernel: str) -> Files:
    """Return the same slices as another series."""

    def change(dataset: pydicom.Dataset) -> None:
        dataset.SeriesInstanceUID = series_uid
        dataset.SOPInstanceUID = f"{series_uid}.{dataset.InstanceNumber}"
        dataset.ConvolutionKernel = kernel

    return Files({f"{series_uid}/{name}": content for name, content in edit(files, change).items()})


def without_lungs(files: Files) -> Files:
    """Return the slices with water in place of air."""

    def change(dataset: pydicom.Dataset) -> None:
        dataset.PixelData = np.full(dataset.Rows * dataset.Columns, 1024, dtype="<u2").tobytes()

    return edit(files, change)


def chosen_uid(report: IntakeReport) -> str:
    assert report.chosen is not None, report.problem
    return report.chosen.series_uid


class TestNotices:
    def test_one_slice_is_enough_to_be_told_of(self, tmp_path: Path, good_files: Files) -> None:
        def change(dataset: pydicom.Dataset) -> None:
            dataset.BurnedInAnnotation, dataset.RescaleType = "YES", "US"
            dataset.LossyImageCompression = "01"
            dataset.LossyImageCompressionRatio = 10 + int(dataset.InstanceNumber)

        changed = edit(Files({name: good_files[name] for name in sorted(good_files)[40:42]}), change)
        ratio = max(float(pydicom.dcmread(io.BytesIO(one)).LossyImageCompressionRatio) for one in changed.values())
        notices = read(pack({**good_files, **changed}), tmp_path).report.notices
        assert {notice.code for notice in notices} >= {"burned_in_annotation", "rescale_type_not_hu"}
        assert [notice.facts for notice in notices if notice.code == "lossy_compression"] == [{"ratio": ratio}]


class TestSeveralSeries:
    def test_the_better_kernel_is_read_and_the_other_files_say_so(self, tmp_path: Path, good_files: Files) -> None:
        soft, lung = make_sibling(good_files, "1.2.8", "SOFT"), make_sibling(good_files, "1.2.9", "LUNG")
        report = read(pack({**soft, **lung}), tmp_path).report
        assert chosen_uid(report) == "1.2.9"
        assert [candidate.is_chosen for candidate in report.candidates] == [True, False]
        assert "weaker in kernel" in report.candidates[1].reason
        ignored = {file.name for file in report.files if file.code is FileCode.NOT_CHOSEN}
        assert ignored == set(soft)

    def test_a_series_can_be_forced(self, tmp_path: Path, good_files: Files) -> None:
        both = {**make_sibling(good_files, "1.2.8", "SOFT"), **make_sibling(good_files, "1.2.9", "LUNG")}
        report = read(pack(both), tmp_path, series_uid="1.2.8").report
        assert chosen_uid(report) == "1.2.8"
        assert report.candidates[0].reason == "asked for by series_instance_uid"

    def test_a_series_without_lungs_gives_way_to_the_next(self, tmp_path: Path, good_files: Files) -> None:
        water = without_lungs(make_sibling(good_files, "1.2.9", "LUNG"))
        report = read(pack({**water, **make_sibling(good_files, "1.2.8", "SOFT")}), tmp_path).report
        assert chosen_uid(report) == "1.2.8"
        assert report.candidates[1].reason.startswith("no_lungs_found: ")

    def test_four_better_series_without_lungs_cost_a_look_each_and_hide_nothing(
        self, tmp_path: Path, good_files: Files
    ) -> None:
        waters = [without_lungs(make_sibling(good_files, f"1.2.9.{number}", "LUNG")) for number in range(4)]
        chest = make_sibling(good_files, "1.2.8", "SOFT")
        report = read(pack({name: one for files in (*waters, chest) for name, one in files.items()}), tmp_path).report
        assert chosen_uid(report) == "1.2.8"
        assert {candidate.facts["problem"] for candidate in report.candidates} == {None, "no_lungs_found"}
        assert "sparse_look" in report.seconds

    def test_a_forced_series_without_lungs_is_refused(self, tmp_path: Path, good_files: Files) -> None:
        water = without_lungs(make_sibling(good_files, "1.2.9", "LUNG"))
        both = pack({**water, **make_sibling(good_files, "1.2.8", "SOFT")})
        problem = read(both, tmp_path, series_uid="1.2.9").report.problem
        assert problem is not None
        assert problem.code == "no_lungs_found"

    def test_a_localiser_beside_the_chest_is_set_aside(self, tmp_path: Path, good_files: Files) -> None:
        def change(dataset: pydicom.Dataset) -> None:
            dataset.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]

        scout = edit(Files(dict(list(make_sibling(good_files, "1.2.9", "LUNG").items())[:2])), change)
        report = read(pack({**good_files, **scout}), tmp_path).report
        assert len(report.candidates) == 1
        outcomes = [(file.outcome, file.code) for file in report.files if file.name in scout]
        assert outcomes == [(FileOutcome.IGNORED, FileCode.LOCALIZER)] * 2
