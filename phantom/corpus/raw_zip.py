"""ZIP archives written byte by byte (APPNOTE 6.3.10), so that every declaration in them can lie."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache

_LOCAL = struct.Struct("<4s5H3I2H")
_CENTRAL = struct.Struct("<4s6H3I5H2I")
_END = struct.Struct("<4s4H2IH")
_END64 = struct.Struct("<4sQ2H2I4Q")
_LOCATOR64 = struct.Struct("<4sIQI")
_VERSION = 20
_VERSION64 = 45
_MADE_BY_UNIX = 0x0314
_ALL_ONES = 0xFFFFFFFF
_BLOCK_BYTES = 1 << 20

STORED = 0
DEFLATED = 8
UTF8_FLAG = 0x800


@dataclass(frozen=True)
class RawEntry:
    """An entry whose every declaration can lie. `stored` are its bytes as they lie in the archive."""

    name: bytes
    stored: bytes
    method: int = DEFLATED
    flags: int = 0
    crc32: int = 0
    declared: int = 0
    mode: int = 0o100644
    offset: int | None = None
    local_name: bytes | None = None


def deflate(content: bytes) -> bytes:
    """Return raw deflate."""
    compressor = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    return compressor.compress(content) + compressor.flush()


@cache
def deflate_zeros(length: int) -> bytes:
    """Return raw deflate of `length` zero bytes, made without holding them."""
    first = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    # A full flush forgets what came before, so the same piece may follow itself.
    piece = first.compress(bytes(_BLOCK_BYTES)) + first.flush(zlib.Z_FULL_FLUSH)
    return piece * (length // _BLOCK_BYTES) + deflate(bytes(length % _BLOCK_BYTES))


@cache
def compute_crc32_of_zeros(length: int) -> int:
    """Return the CRC-32 of `length` zero bytes."""
    block, crc32 = bytes(_BLOCK_BYTES), 0
    for _ in range(length // _BLOCK_BYTES):
        crc32 = zlib.crc32(block, crc32)
    return zlib.crc32(bytes(length % _BLOCK_BYTES), crc32)


def honest(name: bytes, content: bytes, **lies: int | bytes) -> RawEntry:
    """Return an entry that tells the truth but for `lies`."""
    facts = {"crc32": zlib.crc32(content), "declared": len(content), **lies}
    return RawEntry(name, deflate(content), **facts)  # type: ignore[arg-type]  # the caller names fields


def pack_raw(*entries: RawEntry, prefix: bytes = b"") -> bytes:
    """Return a ZIP with these entries, each exactly as it says."""
    return b"".join(iterate_raw(entries, prefix=prefix))


def iterate_raw(entries: Iterable[RawEntry], *, prefix: bytes = b"") -> Iterator[bytes]:
    """Yield a ZIP piece by piece; sizes of 4 GiB and more are declared as ZIP64."""
    if prefix:
        yield prefix
    position, count, directory = len(prefix), 0, bytearray()
    for entry in entries:
        directory += _describe(entry, position if entry.offset is None else entry.offset)
        local_name = entry.name if entry.local_name is None else entry.local_name
        extra = _widen(entry)
        head = _LOCAL.pack(b"PK\x03\x04", _get_version(entry), *_head(entry), len(local_name), len(extra))
        yield head + local_name + extra
        yield entry.stored
        position += len(head) + len(local_name) + len(extra) + len(entry.stored)
        count += 1
    yield bytes(directory)
    yield end_record(count, len(directory), position)


def end_record(count: int, length: int, offset: int) -> bytes:
    """Return what ends a ZIP: how many entries, and the length and offset of their directory."""
    if count < 0xFFFF and max(length, offset) < _ALL_ONES:
        return _END.pack(b"PK\x05\x06", 0, 0, count, count, length, offset, 0)
    numbers = (count, count, length, offset)
    record = _END64.pack(b"PK\x06\x06", _END64.size - 12, _VERSION64, _VERSION64, 0, 0, *numbers)
    locator = _LOCATOR64.pack(b"PK\x06\x07", 0, offset + length, 1)
    end = _END.pack(b"PK\x05\x06", 0, 0, 0xFFFF, 0xFFFF, _ALL_ONES, _ALL_ONES, 0)
    return record + locator + end


def iterate_empty_entries(count: int) -> Iterator[bytes]:
    """Yield a ZIP of `count` empty files without ever holding its directory."""
    name = struct.Struct("8s")
    step = _LOCAL.size + name.size
    for batch in _batch(count):
        yield b"".join(
            _LOCAL.pack(b"PK\x03\x04", _VERSION, 0, STORED, 0, 0, 0, 0, 0, name.size, 0) + b"%08d" % number
            for number in batch
        )
    for batch in _batch(count):
        yield b"".join(
            _CENTRAL.pack(
                *(b"PK\x01\x02", _MADE_BY_UNIX, _VERSION, 0, STORED, 0, 0, 0, 0, 0),
                *(name.size, 0, 0, 0, 0, 0o100644 << 16, number * step),
            )
            + b"%08d" % number
            for number in batch
        )
    yield end_record(count, count * (_CENTRAL.size + name.size), count * step)


def _batch(count: int) -> Iterator[range]:
    size = 4096
    return (range(start, min(start + size, count)) for start in range(0, count, size))


def _head(entry: RawEntry) -> tuple[int, ...]:
    sizes = (_ALL_ONES, _ALL_ONES) if _is_wide(entry) else (len(entry.stored), entry.declared)
    return (entry.flags, entry.method, 0, 0, entry.crc32, *sizes)


def _describe(entry: RawEntry, offset: int) -> bytes:
    extra = _widen(entry)
    lengths = (len(entry.name), len(extra), 0, 0, 0, entry.mode << 16, offset)
    fixed = _CENTRAL.pack(b"PK\x01\x02", _MADE_BY_UNIX, _get_version(entry), *_head(entry), *lengths)
    return fixed + entry.name + extra


def _widen(entry: RawEntry) -> bytes:
    return struct.pack("<2H2Q", 1, 16, entry.declared, len(entry.stored)) if _is_wide(entry) else b""


def _is_wide(entry: RawEntry) -> bool:
    return max(entry.declared, len(entry.stored)) >= _ALL_ONES


def _get_version(entry: RawEntry) -> int:
    return _VERSION64 if _is_wide(entry) else _VERSION
