"""Stored values to HU: every encoding, sign, unused bits, rescale."""

from __future__ import annotations

import io
import struct
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
from workers.intake.dicom.attributes import Attributes
from workers.intake.dicom.parsing import read_padding
from workers.intake.dicom.pixels import convert_to_hu, decode_frame
from workers.intake.dicom.scanner import Elements
from workers.intake.dicom.syntaxes import EXPLICIT_BIG, EXPLICIT_LITTLE, find_syntax
from workers.intake.dicom.tags import Tag
from workers.intake.files import FileCode, FileRejected


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


class TestNativePixels:
    VALUES = np.arange(15, dtype=np.uint8).reshape(3, 5) * 17
    LITTLE = replace(LAYOUT, rows=3, columns=5, bits_allocated=8, bits_stored=8, high_bit=7, is_signed=False, length=16)
    BIG = replace(LITTLE, syntax=find_syntax(EXPLICIT_BIG))

    def test_bytes(self) -> None:
        value = self.VALUES.tobytes() + b"\0"
        assert np.array_equal(decode_frame(self.LITTLE, value, 0), self.VALUES)
        assert np.array_equal(decode_frame(self.BIG, value, 0), self.VALUES)

    def test_bytes_in_big_endian_words_have_changed_places(self) -> None:
        value = np.frombuffer(self.VALUES.tobytes() + b"\0", "u2").byteswap().tobytes()
        layout = replace(self.BIG, is_word_swapped=True)
        assert np.array_equal(decode_frame(layout, value, 0), self.VALUES)

    def test_big_endian_words(self) -> None:
        values = np.arange(15, dtype=np.int16).reshape(3, 5) * 1000 - 2000
        layout = replace(self.BIG, bits_allocated=16, bits_stored=16, high_bit=15, is_signed=True)
        stored = decode_frame(layout, values.astype(">i2").tobytes(), 0)
        assert stored.dtype == np.int16
        assert np.array_equal(stored, values)

    def test_each_frame_is_found(self) -> None:
        values = np.arange(45, dtype=np.uint8).reshape(3, 3, 5)
        for index, frame in enumerate(values):
            assert np.array_equal(decode_frame(self.LITTLE, memoryview(values.tobytes()), index), frame)

    def test_a_short_value_is_refused(self) -> None:
        for layout, length in ((self.LITTLE, 14), (replace(self.BIG, is_word_swapped=True), 15)):
            with pytest.raises(FileRejected) as refusal:
                decode_frame(layout, bytes(length), 0)
            assert refusal.value.code is FileCode.PIXELS_TRUNCATED

    @given(arrays.arrays(np.uint16, (3, 5)), st.integers(1, 16), st.integers(0, 15), st.booleans())
    def test_any_bits_of_any_cells(self, cells: np.ndarray, bits: int, below: int, is_signed: bool) -> None:
        below = min(below, 16 - bits)
        layout = replace(
            self.LITTLE, bits_allocated=16, bits_stored=bits, high_bit=below + bits - 1, is_signed=is_signed
        )
        expected = (cells.astype(int) >> below) % (1 << bits)
        if is_signed:
            expected -= (expected >> (bits - 1)) << bits
        assert np.array_equal(decode_frame(layout, cells.astype("<u2").tobytes(), 0), expected)


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
        counts = convert_to_hu(
            np.array([[-2000, -2000, 1024]], dtype=np.int16), replace(PLACEMENT, padding=(-2000, -2000)), out
        )
        assert out.tolist() == [[-3024, -3024, 0]]
        assert counts.padding == 2

    def test_padding_may_be_a_range(self) -> None:
        out = np.empty((1, 5), dtype=np.int16)
        stored = np.array([[-2001, -2000, -1990, -1980, -1979]], dtype=np.int16)
        assert convert_to_hu(stored, replace(PLACEMENT, padding=(-2000, -1980)), out).padding == 3

    @pytest.mark.parametrize("limit", [b"", struct.pack("<h", -3000), struct.pack("<h", -1000)])
    def test_the_range_is_read_whichever_end_comes_first(self, limit: bytes) -> None:
        values: dict[int, bytes] = {Tag.PixelPaddingValue: struct.pack("<h", -2000), Tag.PixelPaddingRangeLimit: limit}
        elements = Elements(values, find_syntax(EXPLICIT_LITTLE).encoding, None, None)
        expected = sorted((-2000, struct.unpack("<h", limit)[0] if limit else -2000))
        assert read_padding(Attributes(elements), is_signed=True) == tuple(expected)

    @given(
        arrays.arrays(st.sampled_from([np.int16, np.uint16, np.int8, np.uint8]), (3, 4)),
        st.sampled_from([1.0, 2.0, 0.5, -1.0, 0.0123, 37.5]),
        st.sampled_from([0.0, -1024.0, 3.25, 40000.0, -99999.0]),
    )
    def test_any_rescale_of_any_values(self, stored: np.ndarray, slope: float, intercept: float) -> None:
        out = np.empty(stored.shape, dtype=np.int16)
        counts = convert_to_hu(stored, replace(PLACEMENT, slope=slope, intercept=intercept), out)
        exact = np.rint(stored.astype(np.float64) * slope + intercept)
        assert np.array_equal(out, exact.clip(-32768, 32767))
        assert counts.clipped == ((exact < -32768) | (exact > 32767)).sum()

    def test_each_slice_has_its_own_rescale(self, tmp_path: Path, good_files: Files) -> None:
        def shift(dataset: pydicom.Dataset) -> None:
            values = np.frombuffer(dataset.PixelData, "<u2") + 24
            dataset.PixelData = values.astype("<u2").tobytes()
            dataset.RescaleIntercept = str(float(dataset.RescaleIntercept) - 24)

        plain = read(pack(good_files), tmp_path).report
        shifted = read(pack(edit(good_files, shift, every=2)), tmp_path).report
        assert shifted.hu == plain.hu
