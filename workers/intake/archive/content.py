"""Content of entries: inflated once, in pieces, counted against the budget, checked against its CRC."""

from __future__ import annotations

import zlib
from collections.abc import Iterator

from shared.errors import InputProblem
from shared.problems import ProblemCode
from shared.settings import MIB
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


class ExpansionBudget:
    """Counts bytes as they come out of the decompressor, over the whole archive."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._left_bytes = limit_bytes

    def spend(self, count: int) -> None:
        """Take `count` bytes. Raises InputProblem when there are not as many left."""
        self._left_bytes -= count
        if self._left_bytes < 0:
            raise expands_too_far(self._limit_bytes)


def iterate_content(
    source: ByteSource, entry: Entry, budget: ExpansionBudget, *, next_offset: int | None
) -> Iterator[bytes]:
    """Yield the content of an entry in pieces of at most 1 MiB.

    `next_offset` is where the bytes of the next entry begin. Raises InputProblem for an archive that lies, and, at
    the end, FileRejected for an entry that is damaged.
    """
    start = _locate_content(source, entry)
    if next_offset is not None and start + entry.compressed_bytes > next_offset:
        raise overlapping(entry)
    crc32 = 0
    count = 0
    pieces = _inflate(source, entry, start) if entry.method == DEFLATED else _read_stored(source, entry, start)
    for piece in pieces:
        count += len(piece)
        budget.spend(len(piece))
        if count > entry.declared_bytes:
            raise expands_too_far(entry.declared_bytes)
        crc32 = zlib.crc32(piece, crc32)
        yield piece
    if count < entry.declared_bytes:
        raise FileRejected(FileCode.ENTRY_DAMAGED, f"{count} of {entry.declared_bytes} bytes came out")
    if crc32 != entry.crc32:
        raise FileRejected(FileCode.CRC_MISMATCH, "the checksum in the archive does not match the content")


def _locate_content(source: ByteSource, entry: Entry) -> int:
    header = source.read_at(entry.offset, LOCAL_HEADER.size)
    if len(header) < LOCAL_HEADER.size or not header.startswith(LOCAL_SIGNATURE):
        raise _disagreement(entry)
    fields = LOCAL_HEADER.unpack(header)
    name_length, extra_length = fields[9:11]
    name = source.read_at(entry.offset + LOCAL_HEADER.size, name_length)
    if fields[3] != entry.method or name != entry.raw_name:
        raise _disagreement(entry)
    return entry.offset + LOCAL_HEADER.size + int(name_length) + int(extra_length)


def _read_stored(source: ByteSource, entry: Entry, start: int) -> Iterator[bytes]:
    end = start + entry.compressed_bytes
    for offset in range(start, end, _PIECE_BYTES):
        yield source.read_at(offset, min(_PIECE_BYTES, end - offset))


def _inflate(source: ByteSource, entry: Entry, start: int) -> Iterator[bytes]:
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        for piece in _read_stored(source, entry, start):
            yield inflater.decompress(piece, _PIECE_BYTES)
            while inflater.unconsumed_tail and not inflater.eof:
                yield inflater.decompress(inflater.unconsumed_tail, _PIECE_BYTES)
        while not inflater.eof and (rest := inflater.decompress(b"", _PIECE_BYTES)):
            yield rest
    except zlib.error as error:
        raise FileRejected(FileCode.ENTRY_DAMAGED, "the compressed bytes are damaged") from error


def _disagreement(entry: Entry) -> InputProblem:
    detail = f"The local header of entry {entry.ordinal + 1} disagrees with the central directory."
    return InputProblem(ProblemCode.ARCHIVE_CORRUPT, detail)
