"""Stored values to HU: every encoding, sign, unused bits, rescale."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)

from tests.hostile.packing import Files, edit, pack, read, unpack
from tests.workers.intake.images import LAYOUT, PLACEMENT
from workers.intake.dicom.pixels import convert_to_hu, decode_frame
from workers.intake.dicom.syntaxes import find_syntax


@pytest.fixture(scope="module")
def good_files(phantom_zip: Path) -> Files:
    return unpack(phantom_zip)


def reencode(files: Files, syntax: UID) -> Files:
    """Write the files in another transfer syntax."""
    encoded = Files()
    for name, content in files.items():
        dataset = pydicom.dcmread(io.BytesIO(content))
        if syntax.is_compressed and not syntax.is_deflated:
            dataset.compress(syntax)
        else:
            if syntax == ExplicitVRBigEndian:
                dataset.PixelData = np.frombuffer(dataset.PixelData, "<u2").byteswap().tobytes()
            dataset.file_meta.TransferSyntaxUID = syntax
        buffer = io.BytesIO()
        pydicom.dcmwrite(
            buffer,
            dataset,
            implicit_vr=syntax.is_implicit_VR,
            little_endian=syntax.is_little_endian,
            force_encoding=True,
        )
        encoded[name] = buffer.getvalue()
    return encoded


class TestTransferSyntaxes:
    @pytest.mark.parametrize(
        "syntax",
        [
            ImplicitVRLittleEndian,
            ExplicitVRLittleEndian,
            ExplicitVRBigEndian,
            DeflatedExplicitVRLittleEndian,
            JPEGLSLossless,
            JPEG2000Lossless,
            RLELossless,
        ],
        ids=lambda syntax: syntax.name,
    )
    def test_every_encoding_gives_the_same_voxels(self, tmp_path: Path, good_files: Files, syntax: UID) -> None:
        plain = read(pack(good_files), tmp_path).report
        other = read(pack(reencode(good_files, syntax)), tmp_path).report
        assert other.is_accepted, other.problem
        assert other.hu is not None
        assert plain.hu is not None
        assert other.hu == plain.hu

    def test_an_unknown_syntax_is_unreadable(self) -> None:
        syntax = find_syntax("1.2.3")
        assert not syntax.is_readable
        assert syntax.name == "unknown"


class TestStoredBits:
    @given(arrays.arrays(np.int16, (4, 4), elements=st.integers(-2048, 2047)))
    def test_twelve_signed_bits_with_an_overlay_above(self, values: np.ndarray) -> None:
        overlay = np.uint16(0x5000)
        stored = (values.astype(np.uint16) & 0x0FFF) | overlay
        layout = replace(LAYOUT, rows=4, columns=4, bits_stored=12, high_bit=11, length=32)
        assert (decode_frame(layout, stored.tobytes(), 0) == values).all()

    def test_bits_that_lie_high(self) -> None:
        values = np.arange(16, dtype=np.uint16).reshape(4, 4) * 100
        layout = replace(LAYOUT, rows=4, columns=4, bits_stored=12, high_bit=15, is_signed=False, length=32)
        assert (decode_frame(layout, (values << 4).tobytes(), 0) == values).all()


class TestRescale:
    def convert(self, stored: list[int], slope: float, intercept: float, dtype: str = "<i2") -> list[int]:
        out = np.empty((1, len(stored)), dtype=np.int16)
        placement = replace(PLACEMENT, slope=slope, intercept=intercept)
        convert_to_hu(np.array([stored], dtype=dtype), placement, out)
        return [int(value) for value in out[0]]

    def test_plain(self) -> None:
        assert self.convert([0, 1024, 2000], 1, -1024) == [-1024, 0, 976]

    def test_unsigned_values_above_the_signed_range(self) -> None:
        assert self.convert([0, 33000, 33791], 1, -1024, "<u2") == [-1024, 31976, 32767]

    def test_fractions_are_rounded(self) -> None:
        assert self.convert([1, 2, 3, 5], 0.5, 0) == [0, 1, 2, 2]

    def test_what_int16_cannot_hold_is_clipped_and_counted(self) -> None:
        for slope in (1.0, 2.0):
            out = np.empty((1, 3), dtype=np.int16)
            stored = np.array([[0, 65535, 65535]], dtype=np.uint16)
            counts = convert_to_hu(stored, replace(PLACEMENT, slope=slope, intercept=0), out)
            assert out.tolist() == [[0, 32767, 32767]]
            assert counts.clipped == 2

    def test_padding_keeps_its_value_and_is_counted(self) -> None:
        out = np.empty((1, 3), dtype=np.int16)
        counts = convert_to_hu(np.array([[-2000, -2000, 1024]], dtype=np.int16), replace(PLACEMENT, padding=(-2000, -2000)), out)
        assert out.tolist() == [[-3024, -3024, 0]]
        assert counts.padding == 2

    def test_each_slice_has_its_own_rescale(self, tmp_path: Path, good_files: Files) -> None:
        def shift(dataset: pydicom.Dataset) -> None:
            values = np.frombuffer(dataset.PixelData, "<u2") + 24
            dataset.PixelData = values.astype("<u2").tobytes()
            dataset.RescaleIntercept = str(float(dataset.RescaleIntercept) - 24)

        plain = read(pack(good_files), tmp_path).report
        shifted = read(pack(edit(good_files, shift, every=2)), tmp_path).report
        assert shifted.hu == plain.hu
