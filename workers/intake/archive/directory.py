"""The central directory of a ZIP (APPNOTE 6.3.10): parsed by ourselves, strictly, before any byte is unpacked."""

from __future__ import annotations

import re
import stat
import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise

from shared.errors import InputProblem
from shared.problems import ProblemCode
from workers.intake.archive.names import decode_name, is_unsafe
from workers.intake.archive.source import ByteSource
from workers.intake.limits import IntakeLimits

STORED = 0
DEFLATED = 8
LOCAL_SIGNATURE = b"PK\x03\x04"
LOCAL_HEADER = struct.Struct("<4s5H3I2H")

_END = struct.Struct("<4s4H2IH")
_END_SIGNATURE = b"PK\x05\x06"
_LOCATOR64 = struct.Struct("<4sIQI")
_LOCATOR64_SIGNATURE = b"PK\x06\x07"
_END64 = struct.Struct("<4sQ2H2I4Q")
_END64_SIGNATURE = b"PK\x06\x06"
_CENTRAL = struct.Struct("<4s6H3I5H2I")
_CENTRAL_SIGNATURE = b"PK\x01\x02"
_LONGEST_COMMENT = 0xFFFF
_ALL_ONES = 0xFFFFFFFF
_ZIP64_FIELD = 1
_ENCRYPTED_FLAGS = 0x0001 | 0x0040 | 0x2000
_SYSTEMS_WITH_MODES = {3, 19}
_METHODS = {
    1: "shrink", 6: "implode", 9: "deflate64", 12: "bzip2", 14: "lzma", 93: "zstandard", 94: "mp3",
    95: "xz", 96: "jpeg", 97: "wavpack", 98: "ppmd",
}  # fmt: skip
_AES_METHOD = 99


@dataclass(frozen=True)
class Entry:
    """One entry as the central directory declares it.

    `ordinal` counts in the order of the directory; `ends_before` is where the next entry or the directory
    begins.
    """

    ordinal: int
    raw_name: bytes
    flags: int
    method: int
    crc32: int
    compressed_bytes: int
    declared_bytes: int
    offset: int
    mode: int
    ends_before: int = 0

    @property
    def name(self) -> str:
        """The name as text, not yet fit to be shown."""
        return decode_name(self.raw_name, self.flags)

    @property
    def is_folder(self) -> bool:
        """Whether the entry stands for a folder."""
        return self.raw_name.endswith(b"/") or stat.S_ISDIR(self.mode)


@dataclass(frozen=True)
class _Directory:
    offset: int
    length: int
    entries: int

    def agrees_with(self, narrow: _Directory) -> bool:
        """Whether the record of 32 bits says the same, wherever it does not say that its field is too narrow."""
        return (
            narrow.offset in {self.offset, _ALL_ONES}
            and narrow.length in {self.length, _ALL_ONES}
            and narrow.entries in {self.entries, 0xFFFF}
        )


def read_directory(source: ByteSource, limits: IntakeLimits, first_ordinal: int = 0) -> tuple[Entry, ...]:
    """Return the entries in the order of their bytes, numbered from `first_ordinal`, which counts as so many taken.

    Raises InputProblem for every archive that is damaged, tricky or beyond the limits as declared.
    """
    directory = _locate_directory(source)
    if first_ordinal + directory.entries > limits.archive_entries:
        raise _too_many(first_ordinal + directory.entries, limits)
    entries = sorted(_parse_entries(source, directory, limits, first_ordinal), key=lambda entry: entry.offset)
    for entry in entries:
        _check_entry(entry)
    _check_overlaps(entries, directory.offset)
    _check_declared_size(entries, limits)
    ends = [*(entry.offset for entry in entries[1:]), directory.offset]
    return tuple(replace(entry, ends_before=end) for entry, end in zip(entries, ends, strict=False))


def _locate_directory(source: ByteSource) -> _Directory:
    tail_offset = max(0, source.size_bytes - _LONGEST_COMMENT - _END.size)
    tail = source.read_at(tail_offset, source.size_bytes - tail_offset)
    position = _find_end(tail)
    _, disk, start_disk, _, entries, length, offset, _ = _END.unpack_from(tail, position)
    end_offset = tail_offset + position
    directory = _Directory(offset, length, entries)
    # Python writes the ZIP64 records from 2 GiB on, and repeats in the old one whatever still fits there.
    wide = _locate_directory64(source, end_offset)
    if wide is not None:
        if not wide[0].agrees_with(directory):
            raise _corrupt("has two records of its end that differ")
        directory, end_offset = wide
    if disk not in {0, 0xFFFF} or start_disk not in {0, 0xFFFF}:
        raise _corrupt("is one part of several")
    if directory.offset + directory.length > end_offset:
        raise _corrupt("names a central directory that lies beyond its end")
    if directory.offset + directory.length < end_offset:
        raise _corrupt("has bytes before it or inside it that belong to no entry")
    return directory


def _find_end(tail: bytes) -> int:
    """Return where the end record begins: the last whose comment fills the rest, for a comment may look like one."""
    positions = [found.start() for found in re.finditer(re.escape(_END_SIGNATURE), tail)]
    whole = [start for start in positions if len(tail) - start >= _END.size]
    filling = [
        position for position in whole if position + _END.size + _END.unpack_from(tail, position)[-1] == len(tail)
    ]
    if not whole:
        raise InputProblem(ProblemCode.ARCHIVE_TRUNCATED, "The archive has no central directory at its end.")
    return (filling or whole)[-1]


def _locate_directory64(source: ByteSource, end_offset: int) -> tuple[_Directory, int] | None:
    locator = source.read_at(end_offset - _LOCATOR64.size, _LOCATOR64.size) if end_offset >= _LOCATOR64.size else b""
    if not locator.startswith(_LOCATOR64_SIGNATURE):
        return None
    _, _, offset, _ = _LOCATOR64.unpack(locator)
    record = source.read_at(offset, _END64.size) if offset < end_offset else b""
    if len(record) < _END64.size or not record.startswith(_END64_SIGNATURE):
        raise _corrupt("names a ZIP64 record that is not there")
    *_, entries, length, directory_offset = _END64.unpack(record)
    return _Directory(directory_offset, length, entries), offset


def _parse_entries(
    source: ByteSource, directory: _Directory, limits: IntakeLimits, first_ordinal: int
) -> Iterator[Entry]:
    offset, end = directory.offset, directory.offset + directory.length
    ordinal = first_ordinal
    while offset < end:
        if ordinal >= limits.archive_entries:
            raise _too_many(ordinal + 1, limits)
        fixed = source.read_at(offset, _CENTRAL.size)
        if len(fixed) < _CENTRAL.size or not fixed.startswith(_CENTRAL_SIGNATURE):
            raise _corrupt("has a damaged central directory")
        fields = _CENTRAL.unpack(fixed)
        name_length, extra_length, comment_length = fields[10:13]
        variable = source.read_at(offset + _CENTRAL.size, name_length + extra_length)
        if len(variable) < name_length + extra_length:
            raise _corrupt("has a damaged central directory")
        yield _make_entry(ordinal, fields, variable[:name_length], variable[name_length:])
        offset += _CENTRAL.size + name_length + extra_length + comment_length
        ordinal += 1
    if ordinal - first_ordinal != directory.entries:
        raise _corrupt("counts its entries wrongly")


def _make_entry(ordinal: int, fields: tuple[int, ...], raw_name: bytes, extra: bytes) -> Entry:
    _, made_by, _, flags, method, _, _, crc32, compressed, size = fields[:10]
    attributes, offset = fields[15:17]
    size, compressed, offset = _widen((size, compressed, offset), extra)
    has_mode = made_by >> 8 in _SYSTEMS_WITH_MODES
    return Entry(
        ordinal=ordinal,
        raw_name=raw_name,
        flags=flags,
        method=method,
        crc32=crc32,
        compressed_bytes=compressed,
        declared_bytes=size,
        offset=offset,
        mode=attributes >> 16 if has_mode else 0,
    )


def _widen(numbers: tuple[int, int, int], extra: bytes) -> tuple[int, int, int]:
    """Replace numbers that do not fit 32 bits by those of the ZIP64 extra field, which lists only these."""
    if _ALL_ONES not in numbers:
        return numbers
    field = _find_extra(extra, _ZIP64_FIELD)
    wide = iter(struct.unpack(f"<{len(field) // 8}Q", field[: len(field) // 8 * 8]))
    try:
        size, compressed, offset = (next(wide) if number == _ALL_ONES else number for number in numbers)
    except (StopIteration, RuntimeError) as error:
        raise _corrupt("lacks a ZIP64 field") from error
    return size, compressed, offset


def _find_extra(extra: bytes, wanted: int) -> bytes:
    position = 0
    while position + 4 <= len(extra):
        kind, length = struct.unpack_from("<2H", extra, position)
        if kind == wanted:
            return extra[position + 4 : position + 4 + length]
        position += 4 + length
    return b""


def _check_entry(entry: Entry) -> None:
    if is_unsafe(entry.name):
        raise InputProblem(
            ProblemCode.ARCHIVE_UNSAFE_PATH, f"The name of entry {entry.ordinal + 1} points outside the archive."
        )
    if entry.mode and stat.S_IFMT(entry.mode) not in {0, stat.S_IFREG, stat.S_IFDIR}:
        raise InputProblem(ProblemCode.ARCHIVE_LINK_ENTRY, f"Entry {entry.ordinal + 1} is a link or a device.")
    if entry.flags & _ENCRYPTED_FLAGS or entry.method == _AES_METHOD:
        raise InputProblem(ProblemCode.ARCHIVE_ENCRYPTED, f"Entry {entry.ordinal + 1} is encrypted.")
    if entry.method not in {STORED, DEFLATED}:
        method = _METHODS.get(entry.method, f"number {entry.method}")
        raise InputProblem(
            ProblemCode.ARCHIVE_METHOD_UNSUPPORTED,
            f"Entry {entry.ordinal + 1} is compressed by the method {method}.",
            method=method,
        )
    if entry.method == STORED and entry.compressed_bytes != entry.declared_bytes:
        raise _corrupt(f"declares two sizes for entry {entry.ordinal + 1}")


def _check_overlaps(entries: list[Entry], directory_offset: int) -> None:
    """Refuse entries that share bytes, by the least room that each needs; `locate_content` checks the exact room."""
    ends = [entry.offset + LOCAL_HEADER.size + len(entry.raw_name) + entry.compressed_bytes for entry in entries]
    for (_, end), (following, _) in pairwise(zip(entries, ends, strict=True)):
        if end > following.offset:
            raise overlapping(following)
    if ends and ends[-1] > directory_offset:
        raise _corrupt("has an entry that runs into the central directory")


def _check_declared_size(entries: list[Entry], limits: IntakeLimits) -> None:
    declared_bytes = sum(entry.declared_bytes for entry in entries)
    if declared_bytes > limits.archive_bytes:
        raise expands_too_far(limits.archive_bytes)


def overlapping(entry: Entry) -> InputProblem:
    """Return the problem of an entry that shares bytes with the one before."""
    detail = f"Entry {entry.ordinal + 1} shares bytes with another one."
    return InputProblem(ProblemCode.ARCHIVE_OVERLAPPING_ENTRIES, detail)


def expands_too_far(limit_bytes: int) -> InputProblem:
    """Return the problem of an archive that is larger than it may be or than it says."""
    detail = f"The archive expands to more than it declares or than the limit of {limit_bytes} bytes."
    return InputProblem(ProblemCode.ARCHIVE_EXPANDS_TOO_FAR, detail, limit_bytes=limit_bytes)


def _too_many(found: int, limits: IntakeLimits) -> InputProblem:
    return InputProblem(
        ProblemCode.ARCHIVE_TOO_MANY_ENTRIES,
        f"The archive has at least {found} entries; {limits.archive_entries} are allowed.",
        limit_entries=limits.archive_entries,
    )


def _corrupt(what: str) -> InputProblem:
    return InputProblem(ProblemCode.ARCHIVE_CORRUPT, f"The archive {what}.")
