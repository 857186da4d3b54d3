"""Headers of compressed streams: what they say is known before anything is allocated for it."""

from __future__ import annotations

import struct
from contextlib import suppress

import imagecodecs
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.workers.intake import encoding
from tests.workers.intake.encoding import describe, encode_jpeg_lossless, wrap
from workers.intake.dicom.pixels import decode_frame
from workers.intake.dicom.streams import StreamHeader, find_codestream, read_jpeg_2000_header, read_jpeg_header
from workers.intake.files import FileCode, FileRejected

VALUES = np.arange(30 * 20, dtype=np.uint16).reshape(30, 20)
JPEG = encode_jpeg_lossless(VALUES, precision=12, predictor=1)
JPEG_LS = bytes(imagecodecs.jpegls_encode(VALUES))
JPEG_2000 = bytes(imagecodecs.jpeg2k_encode(VALUES, level=0, reversible=True, codecformat="j2k", bitspersample=12))
JP2 = bytes(imagecodecs.jpeg2k_encode(VALUES, level=0, reversible=True, codecformat="jp2"))
SIZES = 8  # where the sizes of a JPEG 2000 codestream begin


def overwrite(stream: bytes, at: int, content: bytes) -> bytes:
    """Return a stream with other bytes in one place."""
    return stream[:at] + content + stream[at + len(content) :]


class TestJpeg:
    def test_size_and_precision(self) -> None:
        assert read_jpeg_header(JPEG) == StreamHeader(rows=30, columns=20, components=1, precision=12)
        assert read_jpeg_header(JPEG_LS) == StreamHeader(rows=30, columns=20, components=1, precision=16)

    def test_what_lies_before_is_skipped(self) -> None:
        thumbnail = b"\xff\xe1" + struct.pack(">H", 2 + len(JPEG_LS)) + JPEG_LS
        filled = b"\xff\xd8" + thumbnail + b"\xff\xff\xff" + JPEG[2:]
        assert read_jpeg_header(filled) == read_jpeg_header(JPEG)

    @pytest.mark.parametrize(
        "stream",
        [b"", JPEG[1:], JPEG[:8], JPEG[:2] + JPEG[-2:], JPEG[:2] + b"\xff\xfe\0\2" * 2000 + JPEG[2:]],
        ids=["empty", "no start", "cut", "no header", "endless comments"],
    )
    def test_a_stream_without_a_size_is_refused(self, stream: bytes) -> None:
        with pytest.raises(FileRejected):
            read_jpeg_header(stream)

    @given(st.binary(max_size=60))
    def test_whatever_it_is(self, tail: bytes) -> None:
        with suppress(FileRejected):
            assert read_jpeg_header(b"\xff\xd8\xff" + tail).rows >= 0


class TestJpeg2000:
    def test_size_precision_and_sign(self) -> None:
        assert read_jpeg_2000_header(JPEG_2000) == StreamHeader(rows=30, columns=20, components=1, precision=12)
        signed = bytes(imagecodecs.jpeg2k_encode(VALUES.astype(np.int16), level=0, reversible=True, codecformat="j2k"))
        assert read_jpeg_2000_header(signed).is_signed

    def test_a_codestream_is_found_in_its_file(self) -> None:
        assert read_jpeg_2000_header(find_codestream(JP2)) == StreamHeader(30, 20, components=1, precision=16)

    @pytest.mark.parametrize("stream", [b"", JPEG_2000[1:], JP2[:40], JP2[:12] + bytes(200), JP2[:12] * 200])
    def test_a_file_without_a_codestream_is_refused(self, stream: bytes) -> None:
        with pytest.raises(FileRejected):
            find_codestream(stream)

    @pytest.mark.parametrize(
        ("at", "content"),
        [
            (SIZES, bytes(4)),
            (SIZES + 8, struct.pack(">2L", 20, 30)),
            (SIZES + 16, struct.pack(">2L", 0, 30)),
            (SIZES + 35, b"\2\2"),
        ],
        ids=["no columns", "all of it outside", "empty tiles", "every second pixel"],
    )
    def test_a_grid_without_pixels_is_refused(self, at: int, content: bytes) -> None:
        with pytest.raises(FileRejected):
            read_jpeg_2000_header(overwrite(JPEG_2000, at, content))

    def test_a_million_tiles_are_refused(self) -> None:
        huge = overwrite(JPEG_2000, SIZES, struct.pack(">6L", 1000, 1000, 0, 0, 1, 1))
        with pytest.raises(FileRejected, match="tiles"):
            read_jpeg_2000_header(huge)

    @given(st.binary(max_size=60))
    def test_whatever_it_is(self, tail: bytes) -> None:
        with suppress(FileRejected):
            assert read_jpeg_2000_header(find_codestream(JPEG_2000[:4] + tail)).rows > 0


class TestSizesBeyondReason:
    @pytest.mark.parametrize(
        ("uid", "stream"),
        [
            (encoding.JPEG_LOSSLESS, overwrite(JPEG, JPEG.index(b"\xff\xc3") + 5, b"\xff\xff\xff\xff")),
            (encoding.JPEG_LS, overwrite(JPEG_LS, JPEG_LS.index(b"\xff\xf7") + 5, b"\xff\xff\xff\xff")),
            (encoding.JPEG_2000, overwrite(JPEG_2000, SIZES, struct.pack(">6L", 65535, 65535, 0, 0, 65535, 65535))),
        ],
        ids=["JPEG", "JPEG-LS", "JPEG 2000"],
    )
    def test_a_stream_of_four_gigapixels_is_refused_by_its_header(self, uid: str, stream: bytes) -> None:
        with pytest.raises(FileRejected, match="65535 x 65535") as refusal:
            decode_frame(describe(VALUES, uid, bits_stored=12), wrap(stream), 0)
        assert refusal.value.code is FileCode.UNDECODABLE

    def test_a_second_size_in_the_stream_is_refused_by_the_decoder(self) -> None:
        start = JPEG.index(b"\xff\xc3")
        frame = JPEG[start : start + 13]
        twice = JPEG[:start] + frame + overwrite(frame, 5, b"\xff\xff\xff\xff") + JPEG[start + 13 :]
        with pytest.raises(FileRejected):
            decode_frame(describe(VALUES, encoding.JPEG_LOSSLESS, bits_stored=12), wrap(twice), 0)
