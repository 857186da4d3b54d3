"""Bad DICOM inside good archives: the right code, a line per file, never a crash."""

from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import pydicom
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from phantom.corpus.files import delete, put, put_text, split_before_pixels
from tests.hostile.packing import Files, edit, encode, get_code, pack, read
from workers.intake.files import FileCode, FileOutcome
from workers.intake.report import IntakeReport


def report_of(files: Mapping[str, bytes], scratch: Path) -> IntakeReport:
    return read(pack(files), scratch).report


def code_of(report: IntakeReport) -> str | None:
    return None if report.problem is None else str(report.problem.code)


CHANGES = st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), min_size=1, max_size=8)


class TestWholeSeries:
    @pytest.mark.parametrize(
        "keyword",
        ["ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "RescaleSlope", "RescaleIntercept", "Rows"],
    )
    def test_missing_tags_are_named_and_counted(self, tmp_path: Path, good_files: Files, keyword: str) -> None:
        report = report_of(edit(good_files, delete(keyword)), tmp_path)
        assert report.problem is not None
        assert report.problem.code == "missing_required_tags"
        assert report.problem.facts["tags"] == {keyword: len(good_files)}

    @pytest.mark.parametrize("text", ["0\\0", "-1\\1", "nan\\1", "1e308\\1", "inf\\inf"])
    def test_impossible_spacing(self, tmp_path: Path, good_files: Files, text: str) -> None:
        assert code_of(report_of(edit(good_files, put_text("PixelSpacing", text)), tmp_path)) == "invalid_geometry"

    @pytest.mark.parametrize("text", ["2\\0\\0\\0\\1\\0", "1\\0\\0\\1\\0\\0", "nan\\0\\0\\0\\1\\0", "0\\0\\0\\0\\0\\0"])
    def test_impossible_orientation(self, tmp_path: Path, good_files: Files, text: str) -> None:
        files = edit(good_files, put_text("ImageOrientationPatient", text))
        assert code_of(report_of(files, tmp_path)) == "invalid_geometry"

    @pytest.mark.parametrize("text", ["0", "nan", "inf", "-inf", "1e30", "abc"])
    def test_impossible_rescale(self, tmp_path: Path, good_files: Files, text: str) -> None:
        assert code_of(report_of(edit(good_files, put_text("RescaleSlope", text)), tmp_path)) == "invalid_rescale"

    def test_images_wider_than_any_scanner(self, tmp_path: Path, good_files: Files) -> None:
        assert (
            code_of(report_of(edit(good_files, put_text("PixelSpacing", "0.7\\100")), tmp_path)) == "invalid_geometry"
        )

    def test_phases_that_nothing_tells_apart(self, tmp_path: Path, good_files: Files) -> None:
        def change(dataset: pydicom.Dataset) -> None:
            dataset.SOPInstanceUID = f"1.2.3.{dataset.InstanceNumber}"
            dataset.PixelData = bytes(len(dataset.PixelData))

        fifty = Files(dict(sorted(good_files.items())[:50]))
        other = {f"other/{name}": content for name, content in edit(fifty, change).items()}
        report = report_of({**good_files, **other}, tmp_path)
        assert report.problem is not None
        assert report.problem.code == "slice_gap"
        assert len(report.problem.facts["positions_mm"]) == 20

    def test_a_damaged_file_of_another_kind_decides_nothing(self, tmp_path: Path, good_files: Files) -> None:
        files = edit(good_files, put("Modality", "MR"))
        first = min(files)
        assert code_of(report_of({**files, first: files[first][:-1000]}, tmp_path)) == "wrong_modality"

    @pytest.mark.parametrize("change", [put("Modality", "SR"), put("ImageType", ["ORIGINAL", "PRIMARY", "LOCALIZER"])])
    def test_a_damaged_ct_slice_is_told_whatever_else_there_is(
        self, tmp_path: Path, good_files: Files, change: Callable[[pydicom.Dataset], object]
    ) -> None:
        first, *others = sorted(good_files)
        files = edit(Files({name: good_files[name] for name in others[:5]}), change)
        assert code_of(report_of({**files, first: good_files[first][:-1000]}, tmp_path)) == "series_incomplete"

    def test_one_damaged_file_is_no_files(self, tmp_path: Path, good_files: Files) -> None:
        report = report_of({"a.dcm": good_files[min(good_files)][:-1000]}, tmp_path)
        assert report.problem is not None
        assert report.problem.detail.startswith("1 file: ")

    def test_another_modality_is_named(self, tmp_path: Path, good_files: Files) -> None:
        report = report_of(edit(good_files, put("Modality", "MR")), tmp_path)
        assert code_of(report) == "wrong_modality"
        assert report.problem is not None
        assert report.problem.facts == {"found": ["MR"]}

    def test_a_phantom_of_quality_control(self, tmp_path: Path, good_files: Files) -> None:
        assert code_of(report_of(edit(good_files, put("QualityControlImage", "YES")), tmp_path)) == "phantom_study"

    def test_two_studies(self, tmp_path: Path, good_files: Files) -> None:
        report = report_of(edit(good_files, put("StudyInstanceUID", "1.2.3"), every=2), tmp_path)
        assert code_of(report) == "mixed_studies"

    def test_two_patients_are_counted_and_not_named(self, tmp_path: Path, good_files: Files) -> None:
        report = report_of(edit(good_files, put("PatientID", "SECRET-1"), every=2), tmp_path)
        assert code_of(report) == "mixed_studies"
        assert "SECRET" not in repr(report)
        assert "PHANTOM-7" not in repr(report)

    def test_a_transfer_syntax_that_nobody_knows(self, tmp_path: Path, good_files: Files) -> None:
        # The same length as explicit little endian.
        syntaxes = (b"1.2.840.10008.1.2.1\x00", b"1.2.840.10008.1.9.9\x00")
        files = {name: content.replace(*syntaxes, 1) for name, content in good_files.items()}
        report = report_of(files, tmp_path)
        assert code_of(report) == "transfer_syntax_unsupported"

    def test_only_texts_and_pictures(self, tmp_path: Path) -> None:
        assert get_code(pack({"a.txt": b"hello", "b.pdf": b"%PDF", "DICOMDIR": b"x"}), tmp_path) == "no_dicom_images"

    def test_a_few_slices_are_too_short(self, tmp_path: Path, good_files: Files) -> None:
        report = report_of(dict(sorted(good_files.items())[30:45]), tmp_path)
        assert report.problem is not None
        assert report.problem.code == "insufficient_coverage"
        assert report.problem.facts["found_mm"] < report.problem.facts["needed_mm"]

    def test_a_chest_cut_in_half(self, tmp_path: Path, good_files: Files) -> None:
        report = report_of(dict(sorted(good_files.items())[30:60]), tmp_path)
        assert code_of(report) == "insufficient_coverage"

    def test_slices_missing_in_the_middle_are_told_by_position(self, tmp_path: Path, good_files: Files) -> None:
        names = sorted(good_files)
        report = report_of({name: good_files[name] for name in names[:30] + names[34:]}, tmp_path)
        assert report.problem is not None
        assert report.problem.code == "slice_gap"
        assert len(report.problem.facts["positions_mm"]) == 1
        assert report.problem.facts["missing_slices"] == 4


class TestDuplicates:
    def test_copies_are_read_once(self, tmp_path: Path, good_files: Files) -> None:
        copies = {f"copy/{name}": content for name, content in good_files.items()}
        once, twice = read(pack(good_files), tmp_path), read(pack({**good_files, **copies}), tmp_path)
        assert twice.report.hu == once.report.hu
        assert sum(file.code is FileCode.DUPLICATE for file in twice.report.files) == len(good_files)
        assert "duplicate_instances" in {notice.code for notice in twice.report.notices}

    def test_one_uid_for_two_images(self, tmp_path: Path, good_files: Files) -> None:
        name = sorted(good_files)[40]
        dataset = pydicom.dcmread(io.BytesIO(good_files[name]))
        pixels = bytearray(dataset.PixelData)
        pixels[1000] ^= 0xFF
        dataset.PixelData = bytes(pixels)
        report = report_of({**good_files, "other.dcm": encode(dataset)}, tmp_path)
        assert report.problem is not None
        assert report.problem.code == "conflicting_duplicates"
        assert report.problem.facts["sop_instance_uids"] == [dataset.SOPInstanceUID]


class TestOneFile:
    """The study survives one bad file, which is named with its code."""

    def reject(self, files: Files, content: bytes, scratch: Path) -> FileCode | None:
        report = report_of({**files, "bad.dcm": content}, scratch)
        assert report.is_accepted, report.problem
        (bad,) = [file for file in report.files if file.name == "bad.dcm"]
        assert bad.outcome is not FileOutcome.USED
        return bad.code

    def change(self, files: Files, change: Callable[[pydicom.Dataset], object]) -> bytes:
        dataset = pydicom.dcmread(io.BytesIO(files[sorted(files)[0]]))
        dataset.SOPInstanceUID = "1.2.3"
        change(dataset)
        return encode(dataset)

    @pytest.mark.parametrize(("keyword", "value"), [("Rows", 65535), ("Columns", 65535), ("NumberOfFrames", 10**6)])
    def test_dimensions_are_refused_before_anything_is_allocated(
        self, tmp_path: Path, good_files: Files, keyword: str, value: int
    ) -> None:
        content = self.change(good_files, put(keyword, value))
        assert self.reject(good_files, content, tmp_path) is FileCode.DIMENSIONS_EXCEED_LIMIT

    def test_truncated_pixels(self, tmp_path: Path, good_files: Files) -> None:
        content = self.change(good_files, put("InstanceNumber", 1))[:-1000]
        assert self.reject(good_files, content, tmp_path) is FileCode.PIXELS_TRUNCATED

    def test_sequences_ten_thousand_deep(self, tmp_path: Path, good_files: Files) -> None:
        head, pixels = split_before_pixels(self.change(good_files, put("InstanceNumber", 1)))
        opening = struct.pack("<HH2sHI", 0x0040, 0xA730, b"SQ", 0, 0xFFFFFFFF) + struct.pack(
            "<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF
        )
        closing = struct.pack("<HHI", 0xFFFE, 0xE00D, 0) + struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
        content = head + opening * 10_000 + closing * 10_000 + pixels
        assert self.reject(good_files, content, tmp_path) is FileCode.HOSTILE_STRUCTURE

    def test_a_value_of_two_gibibytes_that_is_not_there(self, tmp_path: Path, good_files: Files) -> None:
        head, pixels = split_before_pixels(self.change(good_files, put("InstanceNumber", 1)))
        content = head + struct.pack("<HH2sHI", 0x0040, 0xA160, b"UT", 0, 0x7FFFFFFF) + pixels
        assert self.reject(good_files, content, tmp_path) is FileCode.HOSTILE_STRUCTURE

    def test_elements_without_end(self, tmp_path: Path, good_files: Files) -> None:
        head, pixels = split_before_pixels(self.change(good_files, put("InstanceNumber", 1)))
        content = head + struct.pack("<HH2sH", 0x0040, 0xA160, b"LO", 0) * 250_000 + pixels
        assert self.reject(good_files, content, tmp_path) is FileCode.HOSTILE_STRUCTURE

    def test_headers_long_enough_for_one_file_are_too_long_for_twenty(self, tmp_path: Path, good_files: Files) -> None:
        head, pixels = split_before_pixels(self.change(good_files, put("Modality", "MR")))
        long = head + struct.pack("<HH2sH", 0x0040, 0xA160, b"LO", 0) * 180_000 + pixels
        report = report_of({**good_files, **{f"z{number:02}": long for number in range(20)}}, tmp_path)
        assert report.is_accepted, report.problem
        codes = [file.code for file in report.files if file.name.startswith("z")]
        assert codes[0] is FileCode.WRONG_MODALITY
        assert codes[-1] is FileCode.HOSTILE_STRUCTURE

    def test_more_functional_groups_than_any_file_has(self, tmp_path: Path, good_files: Files) -> None:
        head, pixels = split_before_pixels(self.change(good_files, put("InstanceNumber", 1)))
        items = struct.pack("<HHI", 0xFFFE, 0xE000, 0) * 200_001
        content = head + struct.pack("<HH2sHI", 0x5200, 0x9230, b"SQ", 0, len(items)) + items + pixels
        assert self.reject(good_files, content, tmp_path) is FileCode.HOSTILE_STRUCTURE

    def test_programs_in_the_preamble_are_data(self, tmp_path: Path, good_files: Files) -> None:
        def change(content: bytes) -> bytes:
            return b"\x7fELF\x02\x01\x01<script>alert(1)</script>".ljust(128, b"\0") + content[128:]

        report = report_of({name: change(content) for name, content in good_files.items()}, tmp_path)
        assert report.is_accepted
        assert "script" not in repr(report)

    def test_a_script_for_a_name_is_never_echoed(self, tmp_path: Path, good_files: Files) -> None:
        report = report_of(edit(good_files, put("PatientName", "<script>alert(1)</script>")), tmp_path)
        assert report.is_accepted
        assert "script" not in repr(report)

    @pytest.mark.parametrize(
        ("change", "code"),
        [
            (put("Modality", "RTSTRUCT"), FileCode.WRONG_MODALITY),
            (put("ImageType", ["ORIGINAL", "PRIMARY", "LOCALIZER"]), FileCode.LOCALIZER),
            (put("SOPClassUID", pydicom.uid.SecondaryCaptureImageStorage), FileCode.SECONDARY_CAPTURE),
            (put("QualityControlImage", "YES"), FileCode.QUALITY_CONTROL),
            (delete("PixelData"), FileCode.NOT_AN_IMAGE),
        ],
    )
    def test_what_is_no_slice_is_set_aside(
        self, tmp_path: Path, good_files: Files, change: Callable[[pydicom.Dataset], object], code: FileCode
    ) -> None:
        assert self.reject(good_files, self.change(good_files, change), tmp_path) is code


class TestNoPreamble:
    def test_bare_datasets_are_read_with_a_notice(self, tmp_path: Path, good_files: Files) -> None:
        def strip(content: bytes) -> bytes:
            return content[content.index(b"\x08\x00\x05\x00CS") :]

        whole = read(pack(good_files), tmp_path).report
        bare = report_of({name: strip(content) for name, content in good_files.items()}, tmp_path)
        assert bare.hu == whole.hu
        assert "no_preamble" in {notice.code for notice in bare.notices}


class TestFuzz:
    @settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(CHANGES)
    def test_no_change_of_bytes_does_more_than_set_a_file_aside(
        self, tmp_path: Path, good_files: Files, changes: list[tuple[float, int]]
    ) -> None:
        name = sorted(good_files)[0]
        content = bytearray(good_files[name])
        header = content.index(struct.pack("<HH", 0x7FE0, 0x0010)) + 12
        for place, value in changes:
            content[int(place * header)] = value
        report = report_of({name: bytes(content)}, tmp_path)
        assert report.problem is not None
        assert len(report.files) == 1

    def test_real_files_cut_anywhere(self, tmp_path: Path) -> None:
        golden = Path(__file__).parents[1] / "golden" / "dicom"
        for path in sorted(golden.glob("*.dcm")):
            content = path.read_bytes()
            for share in (0.001, 0.01, 0.1, 0.5, 0.99):
                cut = content[: int(len(content) * share)]
                assert get_code(pack({path.name: cut}, method=zipfile.ZIP_DEFLATED), tmp_path) is not None
