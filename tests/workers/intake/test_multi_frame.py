"""Multi-frame images in a whole study: however they are written, and however damaged."""

from __future__ import annotations

import io
from pathlib import Path

import pydicom
import pytest
from pydicom.encaps import encapsulate
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian, JPEGLSLossless

from phantom.corpus.chest import SMALL, Chest
from phantom.corpus.files import decode
from phantom.corpus.series import make_multi_frame
from shared.problems import ProblemCode
from tests.hostile.open_files import few_open_files
from tests.hostile.packing import pack, read
from workers.intake.report import HuStatistics

CHEST = Chest(7, SMALL)


@pytest.fixture
def enhanced() -> pydicom.Dataset:
    return decode(make_multi_frame(CHEST))


def write(dataset: pydicom.Dataset, syntax: UID = ExplicitVRLittleEndian) -> bytes:
    dataset.file_meta.TransferSyntaxUID = syntax
    buffer = io.BytesIO()
    pydicom.dcmwrite(buffer, dataset, enforce_file_format=True)
    return buffer.getvalue()


def measure(content: bytes, scratch: Path) -> HuStatistics:
    """Return the voxels of a study that must be accepted."""
    report = read(pack({"enhanced.dcm": content}), scratch).report
    assert report.problem is None
    assert report.hu is not None
    return report.hu


class TestEncodings:
    def test_deflated(self, enhanced: pydicom.Dataset, tmp_path: Path) -> None:
        plain = measure(write(enhanced), tmp_path)
        assert measure(write(enhanced, DeflatedExplicitVRLittleEndian), tmp_path) == plain

    @pytest.mark.parametrize("is_implicit", [True, False], ids=["implicit", "explicit"])
    def test_without_preamble(self, enhanced: pydicom.Dataset, tmp_path: Path, is_implicit: bool) -> None:
        plain = measure(write(enhanced), tmp_path)
        del enhanced.file_meta
        buffer = io.BytesIO()
        pydicom.dcmwrite(buffer, enhanced, implicit_vr=is_implicit, little_endian=True)
        bare = buffer.getvalue().partition(b"DICM")[2] if buffer.getvalue()[128:132] == b"DICM" else buffer.getvalue()
        assert measure(bare, tmp_path) == plain


class TestSeveralFiles:
    def test_a_series_in_more_files_than_may_be_open(self, enhanced: pydicom.Dataset, tmp_path: Path) -> None:
        whole = measure(write(enhanced), tmp_path)
        groups, pixels = list(enhanced.PerFrameFunctionalGroupsSequence), enhanced.PixelData
        size = enhanced.Rows * enhanced.Columns * 2
        enhanced.NumberOfFrames = 2
        files = {}
        for start in range(0, len(groups) - 1, 2):
            enhanced.SOPInstanceUID = enhanced.file_meta.MediaStorageSOPInstanceUID = UID(f"1.2.3.{start + 1}")
            enhanced.PerFrameFunctionalGroupsSequence = groups[start : start + 2]
            enhanced.PixelData = pixels[start * size : (start + 2) * size]
            files[f"{start}.dcm"] = write(enhanced)
        with few_open_files(8):
            report = read(pack(files), tmp_path).report
        assert len(files) > 8
        assert report.problem is None
        assert len(groups) % 2 or report.hu == whole


class TestDamage:
    def test_many_frames_that_cannot_be_decoded_open_no_files(self, enhanced: pydicom.Dataset, tmp_path: Path) -> None:
        frames = [b"no stream" + bytes(1)] * int(enhanced.NumberOfFrames)
        enhanced.PixelData = encapsulate(frames)
        enhanced["PixelData"].VR = "OB"
        enhanced["PixelData"].is_undefined_length = True
        archive = pack({"enhanced.dcm": write(enhanced, JPEGLSLossless)})
        with few_open_files(spare=20):
            problem = read(archive, tmp_path).report.problem
        assert problem is not None
        assert problem.code is ProblemCode.SERIES_INCOMPLETE
