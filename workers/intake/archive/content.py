"""Content of entries: inflated as far as it is wanted, counted as it comes out, checked against its CRC."""

from __future__ import annotations

import threading
import zlib
from collections.abc import Iterator
from typing import Any, cast

from isal import igzip_lib, isal_zlib

from shared.byte_units import MIB
from shared.errors import InputProblem
from shared.problems import ProblemCode
from workers.intake.archive.directory import (
    DEFLATED,
    LOCAL_HEADER,
    LOCAL_SIGNATURE,
    Entry,
    expands_too_far,
    overlapping,
)
from workers.intake.archive.source import ByteSource
from workers.intake.files import FileCode, FileRejected

_PIECE_BYTES = MIB
_HEADERS_OF_BLOCKS_BYTES = 64
_INFLATE_ERRORS = (zlib.error, cast("type[Exception]", igzip_lib.IsalError))  # typed there as an instance


class ExpansionBudget:
    """Counts bytes as they come out of the decompressor, over the whole archive and over all threads."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._left_bytes = limit_bytes
        self._lock = threading.Lock()

    def spend(self, count: int) -> None:
        """Take `count` bytes. Raises InputProblem when there are not as many left."""
        with self._lock:
            self._left_bytes -= count
        if self._left_bytes < 0:
            raise expands_too_far(self._limit_bytes)


def make_inflater() -> Any:  # noqa: ANN401  # isal has no types; the object is zlib's Decompress in all but name
    """Return a decompressor of raw deflate. ISA-L takes 0.6 of zlib's time and lets go of the GIL."""
    return isal_zlib.decompressobj(-zlib.MAX_WBITS)


def locate_content(source: ByteSource, entry: Entry) -> int:
    """Return where the stored bytes of an entry begin.

    Raises InputProblem for a local header that disagrees with the directory, and for stored bytes that run into what
    follows.
    """
    header = source.read_at(entry.offset, LOCAL_HEADER.size + len(entry.raw_name))
    if len(header) < LOCAL_HEADER.size or not header.startswith(LOCAL_SIGNATURE):
        raise _disagreement(entry)
    fields = LOCAL_HEADER.unpack_from(header)
    name_length, extra_length = fields[9:11]
    if fields[3] != entry.method or name_length != len(entry.raw_name) or header[LOCAL_HEADER.size :] != entry.raw_name:
        raise _disagreement(entry)
    start = entry.offset + LOCAL_HEADER.size + int(name_length) + int(extra_length)
    if start + entry.compressed_bytes > entry.ends_before:
        raise overlapping(entry)
    return start


def read_beginning(source: ByteSource, entry: Entry, start: int, length: int) -> bytes:
    """Return at most `length` bytes from the beginning of the content, unchecked.

    Raises InputProblem when more come out than are declared, FileRejected when they are damaged.
    """
    wanted = min(length, entry.declared_bytes + 1)
    if entry.method == DEFLATED:
        content = _inflate_beginning(source, entry, start, wanted)
    else:
        content = source.read_at(start, min(entry.compressed_bytes, wanted))
    if len(content) > entry.declared_bytes:
        raise expands_too_far(entry.declared_bytes)
    return content


def read_whole(source: ByteSource, entry: Entry, start: int) -> bytes:
    """Return the content, checked. For entries that may be held in memory. Raises as `iterate_content` does."""
    content = source.read_at(start, entry.compressed_bytes)
    if entry.method == DEFLATED:
        content = _inflate_whole(content, entry.declared_bytes + 1)
    if len(content) > entry.declared_bytes:
        raise expands_too_far(entry.declared_bytes)
    _check(entry, len(content), isal_zlib.crc32(content))
    return content


def iterate_content(source: ByteSource, entry: Entry, start: int) -> Iterator[bytes]:
    """Yield the content in pieces of at most 1 MiB.

    Raises InputProblem when more comes out than is declared, and, at the end, FileRejected for an entry that is
    damaged.
    """
    crc32 = 0
    count = 0
    pieces = _read_stored(source, entry, start)
    for piece in inflate(pieces) if entry.method == DEFLATED else pieces:
        count += len(piece)
        if count > entry.declared_bytes:
            raise expands_too_far(entry.declared_bytes)
        crc32 = isal_zlib.crc32(piece, crc32)
        yield piece
    _check(entry, count, crc32)


def inflate(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Inflate raw deflate in pieces of at most 1 MiB. Raises FileRejected for bytes that are none."""
    inflater = make_inflater()
    try:
        for piece in pieces:
            yield inflater.decompress(piece, _PIECE_BYTES)
            while inflater.unconsumed_tail and not inflater.eof:
                yield inflater.decompress(inflater.unconsumed_tail, _PIECE_BYTES)
        while not inflater.eof and (rest := inflater.decompress(b"", _PIECE_BYTES)):
            yield rest
    except _INFLATE_ERRORS as error:
        raise FileRejected(FileCode.ENTRY_DAMAGED, "the compressed bytes are damaged") from error


def _inflate_beginning(source: ByteSource, entry: Entry, start: int, wanted: int) -> bytes:
    """Inflate until `wanted` bytes came out. What does not compress takes more bytes than come out of it."""
    inflater, content = make_inflater(), bytearray()
    position, end = start, start + entry.compressed_bytes
    try:
        while len(content) < wanted and position < end and not inflater.eof:
            stored = source.read_at(position, min(end - position, wanted + _HEADERS_OF_BLOCKS_BYTES))
            content += inflater.decompress(stored, wanted - len(content))
            position += len(stored)
    except _INFLATE_ERRORS as error:
        raise FileRejected(FileCode.ENTRY_DAMAGED, "the compressed bytes are damaged") from error
    return bytes(content)


def _inflate_whole(stored: bytes, most_bytes: int) -> bytes:
    try:
        content: bytes = make_inflater().decompress(stored, most_bytes)
    except _INFLATE_ERRORS as error:
        raise FileRejected(FileCode.ENTRY_DAMAGED, "the compressed bytes are damaged") from error
    return content


def _check(entry: Entry, count: int, crc32: int) -> None:
    if count < entry.declared_bytes:
        raise FileRejected(FileCode.ENTRY_DAMAGED, f"{count} of {entry.declared_bytes} bytes came out")
    if crc32 != entry.crc32:
        raise FileRejected(FileCode.CRC_MISMATCH, "the checksum in the archive does not match the content")


def _read_stored(source: ByteSource, entry: Entry, start: int) -> Iterator[bytes]:
    end = start + entry.compressed_bytes
    for offset in range(start, end, _PIECE_BYTES):
        yield source.read_at(offset, min(_PIECE_BYTES, end - offset))


def _disagreement(entry: Entry) -> InputProblem:
    detail = f"The local header of entry {entry.ordinal + 1} disagrees with the central directory."
    return InputProblem(ProblemCode.ARCHIVE_CORRUPT, detail)
