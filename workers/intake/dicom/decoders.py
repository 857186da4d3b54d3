"""The seam to the decoders of compressed pixels (imagecodecs). They hold no lock, so threads decode side by side.

Which library reads what was measured on slices of a chest at 16 bits, in ms a slice on one core. JPEG lossless:
libjpeg-turbo 3.1 (liblj92 takes 4.3 and jpg_0xc3 5.1, and neither reads restart markers). JPEG-LS: CharLS 6.2. JPEG
2000: OpenJPEG 28, nine tenths of it in entropy decoding; five builds of it took the same, FFmpeg's decoder twice as
long, and GDCM, which looks faster, starts a second thread: 22 ms, but 36 of both cores. High-throughput JPEG 2000:
OpenJPEG too, 2.9; OpenJPH takes 1.9, but imagecodecs hands back memory never written when it meets an error.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

# Each name loads its decoder now, before children are forked, not when it is first called in each of them.
from imagecodecs import dicomrle_decode, jpeg2k_decode, jpeg8_decode, jpegls_decode

from workers.intake.dicom.streams import StreamHeader, find_codestream, read_jpeg_2000_header, read_jpeg_header
from workers.intake.dicom.syntaxes import Codec
from workers.intake.files import FileCode, FileRejected

_END_OF_IMAGE = b"\xff\xd9"
_LONGEST_TAIL = 1 << 12
# Encoders pad the segments of a stream, and the bytes of padding decode to a few more.
_RLE_SLACK_BYTES = 64

Cells = npt.NDArray[np.integer[Any]]


@dataclass(frozen=True)
class Decoded:
    """A frame, (rows, columns) of 8 or 16 bits, of which `precision` are used; the others extend the stream's sign."""

    cells: Cells
    precision: int
    is_signed: bool


def decode_stream(codec: Codec, stream: bytes, *, rows: int, columns: int, bits_allocated: int) -> Decoded:
    """Decode one frame. Raises FileRejected before anything is allocated that the dataset does not ask for."""
    try:
        if codec is Codec.RLE:
            return _decode_rle(stream, rows, columns, bits_allocated)
        stream = find_codestream(stream) if codec is Codec.JPEG_2000 else stream
        read_header, decode = _READERS[codec]
        header = read_header(stream)
        _check_header(header, rows, columns, bits_allocated)
        return Decoded(decode(stream, header), header.precision, header.is_signed)
    except (RuntimeError, ValueError) as error:  # the errors of all decoders are RuntimeErrors
        detail = f"{codec.value} pixels cannot be decoded ({type(error).__name__})"
        raise FileRejected(FileCode.UNDECODABLE, detail) from None


def _check_header(header: StreamHeader, rows: int, columns: int, bits_allocated: int) -> None:
    if header.components != 1:
        raise FileRejected(FileCode.PIXELS_UNSUPPORTED, f"the stream has {header.components} samples per pixel")
    if (header.rows, header.columns) != (rows, columns):
        found = f"{header.rows} x {header.columns}"
        raise FileRejected(FileCode.UNDECODABLE, f"the stream is {found}, the dataset says {rows} x {columns}")
    if not 0 < header.precision <= bits_allocated:
        raise FileRejected(FileCode.UNDECODABLE, f"the stream has {header.precision} bits, {bits_allocated} allocated")


def _decode_jpeg(stream: bytes, header: StreamHeader) -> Cells:
    # libjpeg fills up with grey what a stream lacks, and says so only in a warning, which does not reach us.
    if _END_OF_IMAGE not in stream[-_LONGEST_TAIL:]:
        raise FileRejected(FileCode.PIXELS_TRUNCATED, "the stream ends too early")
    return jpeg8_decode(stream, out=_allocate(header))


def _decode_jpeg_ls(stream: bytes, header: StreamHeader) -> Cells:
    return jpegls_decode(_complete(stream), out=_allocate(header))


def _decode_jpeg_2000(stream: bytes, header: StreamHeader) -> Cells:
    return jpeg2k_decode(_complete(stream), out=_allocate(header))


_READERS: dict[Codec, tuple[Callable[[bytes], StreamHeader], Callable[[bytes, StreamHeader], Cells]]] = {
    Codec.JPEG: (read_jpeg_header, _decode_jpeg),
    Codec.JPEG_LS: (read_jpeg_header, _decode_jpeg_ls),
    Codec.JPEG_2000: (read_jpeg_2000_header, _decode_jpeg_2000),
}


def _allocate(header: StreamHeader) -> Cells:
    """Return room for the frame: a decoder that finds another size in the stream must fail, not allocate."""
    kind = f"{'i' if header.is_signed else 'u'}{1 if header.precision <= 8 else 2}"
    return np.empty((header.rows, header.columns), dtype=kind)


def _complete(stream: bytes) -> bytes:
    """Append the end marker that some encoders leave out; these decoders notice themselves when more is missing."""
    return stream if _END_OF_IMAGE in stream[-4:] else stream + _END_OF_IMAGE


def _decode_rle(stream: bytes, rows: int, columns: int, bits_allocated: int) -> Decoded:
    kind = np.dtype(f"<u{bits_allocated // 8}")
    segments = int.from_bytes(stream[:4], "little")
    if segments != kind.itemsize:
        raise FileRejected(FileCode.UNDECODABLE, f"{segments} segments of {bits_allocated // 8}-byte pixels")
    count = rows * columns
    room = bytearray(count * kind.itemsize + _RLE_SLACK_BYTES)
    decoded = dicomrle_decode(stream, kind, out=room)
    if len(decoded) < count * kind.itemsize:
        raise FileRejected(FileCode.PIXELS_TRUNCATED, f"{len(decoded)} of {count * kind.itemsize} bytes of pixels")
    return Decoded(np.frombuffer(decoded, kind, count).reshape(rows, columns), bits_allocated, is_signed=False)
