"""Every compressed transfer syntax: equal where it is lossless, near where it is not, refused where it lies."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from functools import partial
from io import BytesIO
from pathlib import Path

import imagecodecs
import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from pydicom.pixels.encoders.base import get_encoder

from tests.workers.intake import encoding
from tests.workers.intake.encoding import Pixels, cut_bits, describe, encapsulate, encode_jpeg_lossless, wrap
from workers.intake.dicom.parsing import read_layout, scan_file
from workers.intake.dicom.pixels import decode_frame
from workers.intake.dicom.syntaxes import READABLE, Codec, find_syntax
from workers.intake.files import FileCode, FileRejected

GOLDEN = Path(__file__).parents[2] / "golden" / "dicom"

Encoder = Callable[[Pixels, int], bytes]


def encode_jpeg(values: Pixels, bits: int) -> bytes:
    return bytes(imagecodecs.jpeg8_encode(values, level=98, bitspersample=bits))


def encode_lossless(values: Pixels, bits: int, predictor: int = 1) -> bytes:
    return bytes(imagecodecs.jpeg8_encode(values, lossless=True, predictor=predictor, bitspersample=bits))


def encode_jpeg_ls(values: Pixels, bits: int, level: int = 0) -> bytes:
    return bytes(imagecodecs.jpegls_encode(values, level=level))


def encode_jpeg_2000(values: Pixels, bits: int) -> bytes:
    return bytes(imagecodecs.jpeg2k_encode(values, level=0, reversible=True, codecformat="j2k", bitspersample=bits))


def encode_lossy_jpeg_2000(values: Pixels, bits: int) -> bytes:
    return bytes(imagecodecs.jpeg2k_encode(values, level=70, codecformat="j2k", bitspersample=bits))


def encode_htj2k(values: Pixels, bits: int, *, reversible: bool = True) -> bytes:
    return bytes(imagecodecs.htj2k_encode(values, reversible=reversible, level=None if reversible else 1e-4))


def encode_rle(values: Pixels, bits: int) -> bytes:
    return encoding.encode_rle(values)


LOSSLESS: dict[str, Encoder] = {
    encoding.JPEG_LOSSLESS: partial(encode_lossless, predictor=6),
    encoding.JPEG_LOSSLESS_FIRST: encode_lossless,
    encoding.JPEG_LS: encode_jpeg_ls,
    encoding.JPEG_2000_LOSSLESS: encode_jpeg_2000,
    encoding.HTJ2K_LOSSLESS: encode_htj2k,
    encoding.HTJ2K_PROGRESSIVE: encode_htj2k,
    encoding.RLE: encode_rle,
}
LOSSY: dict[str, Encoder] = {
    encoding.JPEG_BASELINE: encode_jpeg,
    encoding.JPEG_EXTENDED: encode_jpeg,
    encoding.JPEG_LS_NEAR: partial(encode_jpeg_ls, level=2),
    encoding.JPEG_2000: encode_lossy_jpeg_2000,
    encoding.HTJ2K: partial(encode_htj2k, reversible=False),
}


def draw_slice(bits: int, shape: tuple[int, int] = (48, 57)) -> Pixels:
    """Return something like a slice: smooth, with noise, over most of the range; unsigned."""
    row, column = np.indices(shape)
    smooth = 0.5 + 0.35 * np.sin(row / 9) * np.cos(column / 7)
    noisy = smooth + np.random.default_rng(bits).normal(0, 0.01, shape)
    return (noisy.clip(0, 1) * ((1 << bits) - 1)).astype(np.uint8 if bits <= 8 else np.uint16)


def test_every_readable_syntax_is_tested() -> None:
    native = {uid for uid in READABLE if find_syntax(uid).is_native}
    assert {*LOSSLESS, *LOSSY} | native == READABLE


class TestLossless:
    @pytest.mark.parametrize("bits", [8, 10, 12, 15, 16])
    @pytest.mark.parametrize("uid", LOSSLESS)
    def test_unsigned_values_come_back(self, uid: str, bits: int) -> None:
        values = draw_slice(bits)
        stored = decode_frame(describe(values, uid, bits_stored=bits), wrap(LOSSLESS[uid](values, bits)), 0)
        assert stored.dtype == values.dtype
        assert np.array_equal(stored, values)

    @pytest.mark.parametrize("bits", [8, 12, 16])
    @pytest.mark.parametrize("uid", LOSSLESS)
    def test_signed_values_come_back_from_their_bit_patterns(self, uid: str, bits: int) -> None:
        values = draw_slice(bits).astype(np.int32) - (1 << (bits - 1))
        layout = describe(values.astype(np.int8 if bits <= 8 else np.int16), uid, bits_stored=bits)
        stored = decode_frame(layout, wrap(LOSSLESS[uid](cut_bits(values, bits), bits)), 0)
        assert stored.dtype.kind == "i"
        assert np.array_equal(stored, values)

    @pytest.mark.parametrize("uid", LOSSLESS)
    def test_twelve_signed_bits_come_back_from_sixteen(self, uid: str) -> None:
        values = draw_slice(12).astype(np.int16) - 2048
        stored = decode_frame(describe(values, uid, bits_stored=12), wrap(LOSSLESS[uid](values.view(np.uint16), 16)), 0)
        assert np.array_equal(stored, values)

    @pytest.mark.parametrize("uid", LOSSLESS)
    @given(values=arrays.arrays(np.uint16, st.tuples(st.integers(5, 20), st.integers(5, 20))))
    @settings(max_examples=20)
    def test_any_values_of_any_shape(self, uid: str, values: Pixels) -> None:
        stored = decode_frame(describe(values, uid, bits_stored=16), wrap(LOSSLESS[uid](values, 16)), 0)
        assert np.array_equal(stored, values)

    def test_narrow_streams_are_widened_to_the_cells_of_the_dataset(self) -> None:
        values = draw_slice(8)
        layout = describe(values.astype(np.uint16), encoding.JPEG_LS, bits_stored=12)
        stored = decode_frame(layout, wrap(encode_jpeg_ls(values, 8)), 0)
        assert stored.dtype == np.uint16
        assert np.array_equal(stored, values)

    def test_overlays_above_the_values_are_removed(self) -> None:
        values = draw_slice(12)
        overlaid = values | np.uint16(0x5000)
        for uid, encode in LOSSLESS.items():
            stored = decode_frame(describe(values, uid, bits_stored=12), wrap(encode(overlaid, 16)), 0)
            assert np.array_equal(stored, values), uid

    def test_values_that_lie_high_are_moved_down(self) -> None:
        values = draw_slice(12)
        for uid, encode in LOSSLESS.items():
            layout = describe(values, uid, bits_stored=12, high_bit=15)
            assert np.array_equal(decode_frame(layout, wrap(encode(values << 4, 16)), 0), values), uid

    def test_each_frame_is_found(self) -> None:
        frames = np.stack([np.roll(draw_slice(12), shift) for shift in range(5)])
        for uid, encode in LOSSLESS.items():
            layout = describe(frames, uid, bits_stored=12, frames=5)
            value = encapsulate([[encode(frame, 16)] for frame in frames], has_table=uid != encoding.RLE)
            for index, frame in enumerate(frames):
                assert np.array_equal(decode_frame(layout, memoryview(value), index), frame), uid


class TestLossy:
    @pytest.mark.parametrize("bits", [8, 12])
    @pytest.mark.parametrize("uid", LOSSY)
    def test_the_error_is_bounded(self, uid: str, bits: int) -> None:
        values = draw_slice(bits)
        stored = decode_frame(describe(values, uid, bits_stored=bits), wrap(LOSSY[uid](values, bits)), 0)
        error = np.abs(stored.astype(int) - values).max()
        assert error <= (2 if uid == encoding.JPEG_LS_NEAR else (1 << bits) * 0.05)

    @pytest.mark.parametrize("uid", [encoding.JPEG_LS_NEAR, encoding.JPEG_2000, encoding.HTJ2K])
    def test_values_beyond_the_stored_bits_do_not_wrap_around(self, uid: str) -> None:
        values = np.where(draw_slice(12) > 2000, 4095, 4000).astype(np.uint16)
        stored = decode_frame(describe(values, uid, bits_stored=12), wrap(LOSSY[uid](values, 16)), 0)
        assert stored.min() > 3900

    def test_the_syntax_says_so(self) -> None:
        assert {uid for uid in READABLE if find_syntax(uid).is_lossy} == set(LOSSY)


class TestJpegLossless:
    @pytest.mark.parametrize("bits", [2, 8, 9, 12, 13, 16])
    @pytest.mark.parametrize("predictor", range(1, 8))
    def test_every_predictor(self, predictor: int, bits: int) -> None:
        values = draw_slice(bits, (9, 11))
        stream = encode_jpeg_lossless(values, precision=bits, predictor=predictor)
        stored = decode_frame(describe(values, encoding.JPEG_LOSSLESS, bits_stored=bits), wrap(stream), 0)
        assert np.array_equal(stored, values)

    @pytest.mark.parametrize("predictor", range(1, 8))
    @pytest.mark.parametrize("rows", [1, 2, 5])
    def test_restarts(self, predictor: int, rows: int) -> None:
        values = draw_slice(16, (23, 11))
        stream = encode_jpeg_lossless(values, precision=16, predictor=predictor, rows_between_restarts=rows)
        stored = decode_frame(describe(values, encoding.JPEG_LOSSLESS, bits_stored=16), wrap(stream), 0)
        assert np.array_equal(stored, values)

    def test_differences_of_half_the_range(self) -> None:
        values = np.array([[0, 32768, 0], [32768, 0, 65535]], dtype=np.uint16)
        stream = encode_jpeg_lossless(values, precision=16, predictor=1)
        stored = decode_frame(describe(values, encoding.JPEG_LOSSLESS, bits_stored=16), wrap(stream), 0)
        assert np.array_equal(stored, values)

    def test_low_bits_that_were_dropped(self) -> None:
        values = draw_slice(12, (9, 11))
        stream = encode_jpeg_lossless(values, precision=12, predictor=1, dropped_bits=2)
        stored = decode_frame(describe(values, encoding.JPEG_LOSSLESS, bits_stored=12), wrap(stream), 0)
        assert np.array_equal(stored, values & 0xFFC)


class TestJpeg2000:
    def test_a_signed_stream_of_a_signed_dataset(self) -> None:
        values = draw_slice(12).astype(np.int16) - 2048
        for encode in (encode_jpeg_2000, encode_htj2k):
            layout = describe(values, encoding.JPEG_2000_LOSSLESS, bits_stored=12)
            assert np.array_equal(decode_frame(layout, wrap(encode(values, 12)), 0), values)

    def test_a_signed_stream_of_an_unsigned_dataset_is_reinterpreted(self) -> None:
        values = draw_slice(12)
        extended = values.astype(np.int16) << 4 >> 4
        layout = describe(values, encoding.JPEG_2000_LOSSLESS, bits_stored=12)
        assert np.array_equal(decode_frame(layout, wrap(encode_jpeg_2000(extended, 12)), 0), values)

    def test_a_whole_file_inside(self) -> None:
        values = draw_slice(12)
        stream = bytes(imagecodecs.jpeg2k_encode(values, level=0, reversible=True, codecformat="jp2"))
        layout = describe(values, encoding.JPEG_2000_LOSSLESS, bits_stored=16)
        assert np.array_equal(decode_frame(layout, wrap(stream), 0), values)

    def test_many_tiles(self) -> None:
        values = draw_slice(12, (64, 80))
        stream = bytes(imagecodecs.htj2k_encode(values, reversible=True, tile=(16, 16)))
        layout = describe(values, encoding.HTJ2K_LOSSLESS, bits_stored=16)
        assert np.array_equal(decode_frame(layout, wrap(stream), 0), values)


class TestMissingEnd:
    @pytest.mark.parametrize("uid", [encoding.JPEG_LS, encoding.JPEG_2000_LOSSLESS, encoding.HTJ2K_LOSSLESS])
    def test_a_stream_that_is_whole_but_for_its_end_marker_is_read(self, uid: str) -> None:
        values = draw_slice(12)
        stream = LOSSLESS[uid](values, 16)
        assert np.array_equal(decode_frame(describe(values, uid, bits_stored=12), wrap(stream[:-2]), 0), values)

    @pytest.mark.parametrize("uid", [*LOSSLESS, *LOSSY])
    @pytest.mark.parametrize("part", [0.02, 0.3, 0.9])
    def test_half_a_stream_is_refused(self, uid: str, part: float) -> None:
        values = draw_slice(8)
        stream = (LOSSLESS | LOSSY)[uid](values, 8)
        with pytest.raises(FileRejected) as refusal:
            decode_frame(describe(values, uid, bits_stored=8), wrap(stream[: int(len(stream) * part)]), 0)
        assert refusal.value.code in {FileCode.PIXELS_TRUNCATED, FileCode.UNDECODABLE}


class TestStreamsThatDisagree:
    @pytest.mark.parametrize("uid", [*LOSSLESS, *LOSSY])
    def test_another_size_is_refused(self, uid: str) -> None:
        values = draw_slice(8)
        layout = describe(values, uid, bits_stored=8)
        for changed in (replace(layout, rows=layout.rows + 1), replace(layout, columns=layout.columns + 2)):
            with pytest.raises(FileRejected) as refusal:
                decode_frame(changed, wrap((LOSSLESS | LOSSY)[uid](values, 8)), 0)
            assert refusal.value.code in {FileCode.PIXELS_TRUNCATED, FileCode.UNDECODABLE}

    @pytest.mark.parametrize("uid", [*LOSSLESS, *LOSSY])
    def test_more_bits_than_are_allocated_are_refused(self, uid: str) -> None:
        layout = describe(draw_slice(8), uid, bits_stored=8)
        with pytest.raises(FileRejected) as refusal:
            decode_frame(layout, wrap((LOSSLESS | LOSSY)[uid](draw_slice(12), 12)), 0)
        assert refusal.value.code is FileCode.UNDECODABLE

    @pytest.mark.parametrize(
        ("uid", "stream"),
        [
            (encoding.JPEG_BASELINE, imagecodecs.jpeg8_encode(np.zeros((48, 57, 3), np.uint8))),
            (encoding.JPEG_LS, imagecodecs.jpegls_encode(np.zeros((48, 57, 3), np.uint8))),
            (encoding.JPEG_2000, imagecodecs.jpeg2k_encode(np.zeros((48, 57, 3), np.uint8), codecformat="j2k")),
        ],
    )
    def test_colour_is_refused(self, uid: str, stream: bytes) -> None:
        with pytest.raises(FileRejected) as refusal:
            decode_frame(describe(draw_slice(8), uid, bits_stored=8), wrap(bytes(stream)), 0)
        assert refusal.value.code is FileCode.PIXELS_UNSUPPORTED


class TestHostileStreams:
    @pytest.mark.parametrize("uid", [*LOSSLESS, *LOSSY])
    @given(edits=st.lists(st.tuples(st.floats(0, 0.999), st.integers(0, 255)), min_size=1, max_size=5))
    @settings(max_examples=15)
    def test_damage_is_refused_or_decoded_but_never_raises(self, uid: str, edits: list[tuple[float, int]]) -> None:
        values = draw_slice(8, (12, 16))
        stream = bytearray((LOSSLESS | LOSSY)[uid](values, 8))
        for place, byte in edits:
            stream[int(place * len(stream))] = byte
        with suppress(FileRejected):
            stored = decode_frame(describe(values, uid, bits_stored=8), wrap(bytes(stream)), 0)
            assert stored.shape == values.shape

    @pytest.mark.parametrize("codec", Codec)
    @given(stream=st.binary(max_size=100))
    @settings(max_examples=20)
    def test_noise_is_refused(self, codec: Codec, stream: bytes) -> None:
        uid = next(uid for uid in READABLE if find_syntax(uid).codec is codec)
        with pytest.raises(FileRejected):
            decode_frame(describe(draw_slice(12), uid, bits_stored=12), wrap(stream), 0)


def iterate_golden() -> list[tuple[str, bytes]]:
    files = [(path.name, path.read_bytes()) for path in sorted(GOLDEN.glob("*.dcm")) if path.name != "SC_rgb.dcm"]
    for archive in sorted(GOLDEN.glob("*.zip")):
        with zipfile.ZipFile(archive) as members:
            name = next(name for name in members.namelist() if not name.endswith("/"))
            files.append((f"{archive.name}/1", members.read(name)))
    return files


class TestThreads:
    def test_many_decode_side_by_side(self) -> None:
        values = [np.roll(draw_slice(12), shift) for shift in range(12)]
        jobs = [(uid, each, wrap(encode(each, 16))) for uid, encode in LOSSLESS.items() for each in values]

        def is_equal(job: tuple[str, Pixels, bytes]) -> bool:
            uid, each, value = job
            return np.array_equal(decode_frame(describe(each, uid, bits_stored=12), value, 0), each)

        with ThreadPoolExecutor(8) as pool:
            assert all(pool.map(is_equal, jobs))


class TestStreamsOfOtherEncoders:
    @pytest.mark.parametrize("bits", [8, 12, 13, 16])
    @pytest.mark.parametrize("is_signed", [False, True], ids=["unsigned", "signed"])
    @pytest.mark.parametrize(
        ("uid", "plugin"),
        [
            (encoding.JPEG_LS, "pyjpegls"),
            (encoding.JPEG_2000_LOSSLESS, "pylibjpeg"),
            (encoding.RLE, "pydicom"),
        ],
    )
    def test_they_are_read_alike(self, uid: str, plugin: str, is_signed: bool, bits: int) -> None:
        values = draw_slice(bits).astype(np.int32) - (1 << (bits - 1) if is_signed else 0)
        cells = values.astype(f"{'i' if is_signed else 'u'}{1 if bits <= 8 else 2}")
        layout = describe(cells, uid, bits_stored=bits)
        stream = get_encoder(uid).encode(
            cells,
            encoding_plugin=plugin,
            rows=layout.rows,
            columns=layout.columns,
            samples_per_pixel=1,
            bits_allocated=layout.bits_allocated,
            bits_stored=bits,
            pixel_representation=int(is_signed),
            photometric_interpretation="MONOCHROME2",
            number_of_frames=1,
        )
        assert np.array_equal(decode_frame(layout, wrap(stream), 0), values)


class TestRealFiles:
    @pytest.mark.parametrize(
        ("name", "content"), iterate_golden(), ids=lambda value: value if isinstance(value, str) else ""
    )
    def test_pydicom_agrees(self, name: str, content: bytes) -> None:
        layout = read_layout(scan_file(content, is_whole=True), len(content))
        end = len(content) if layout.length is None else layout.offset + layout.length
        expected = pydicom.dcmread(BytesIO(content)).pixel_array.reshape(-1, layout.rows, layout.columns)
        for frame in range(layout.frames):
            stored = decode_frame(layout, memoryview(content)[layout.offset : end], frame)
            assert np.array_equal(stored, expected[frame])
