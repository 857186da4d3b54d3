"""Changes to NIfTI files that keep most of their structure: fields of the header, and the gzip around it."""

from __future__ import annotations

import gzip
import struct
import zlib
from contextlib import suppress
from random import Random

from tests.fuzz.byte_mutations import Mutation, mutate_bytes, mutate_often, overwrite_number

_MAGIC = b"\x1f\x8b"
_LARGEST = 1 << 22
# Offsets of the fields of NIfTI-1 and NIfTI-2 that a reader believes; each list is of one size in bytes.
_SHORTS = (*range(40, 56, 2), 68, 70, 72, 12, 14, *range(252, 256, 2))
_LONGS = (0, *range(76, 108, 4), 108, 112, 116, *range(256, 328, 4), 344, 348, 500, 504, 508, 536, 540)
_WIDE = (4, *range(16, 80, 8), *range(104, 168, 8), 168, 176, 184, *range(352, 500, 8))
# Codes of data types, with their bits.
_TYPES = ((0, 0), (1, 1), (2, 8), (4, 16), (8, 32), (16, 32), (32, 64), (64, 64), (128, 24), (256, 8), (512, 16),
          (768, 32), (1024, 64), (1280, 64), (1536, 128), (1792, 128), (2048, 256), (2304, 32), (9999, 16))  # fmt: skip
_FLOATS = (0.0, -0.0, 1.0, -1.0, 1e-45, 1e38, float("inf"), float("-inf"), float("nan"), 0.5, 100.5, 2048.0)


def mutate_nifti(random: Random, content: bytes) -> bytes:
    """Change a NIfTI file once or some times, inside of its gzip and around it."""
    if content[:2] != _MAGIC:
        changed = mutate_often(random, content, _MUTATIONS)
        return changed if random.random() < 0.9 else _compress(random, changed)
    inflater = zlib.decompressobj(31)
    with suppress(zlib.error):
        inner = inflater.decompress(content, _LARGEST)
        if random.random() < 0.6:
            return _compress(random, mutate_often(random, inner, _MUTATIONS))
    return random.choice((mutate_bytes(random, content), content * 2, content + random.randbytes(9), content[:-8]))


def _compress(random: Random, content: bytes) -> bytes:
    cut = random.randrange(len(content) + 1)
    parts = random.choice(((content,), (content[:cut], content[cut:]), (content, b"")))
    return b"".join(gzip.compress(part, random.choice((0, 1)), mtime=0) for part in parts)


def _set_short(random: Random, content: bytes) -> bytes:
    return overwrite_number(random, content, random.choice(_SHORTS), 2)


def _set_long(random: Random, content: bytes) -> bytes:
    return overwrite_number(random, content, random.choice(_LONGS), 4)


def _set_wide(random: Random, content: bytes) -> bytes:
    return overwrite_number(random, content, random.choice(_WIDE), 8)


def _set_float(random: Random, content: bytes) -> bytes:
    at = random.choice(_LONGS)
    return content[:at] + struct.pack("<f", random.choice(_FLOATS)) + content[at + 4 :]


def _set_type(random: Random, content: bytes) -> bytes:
    """Name another kind of values, with its bits or not."""
    code, bits = random.choice(_TYPES)
    bits = random.choice((bits, bits, 0, 16))
    return content[:70] + struct.pack("<2h", code, bits) + content[74:]


_MUTATIONS: tuple[Mutation, ...] = (
    _set_short,
    _set_short,
    _set_long,
    _set_float,
    _set_float,
    _set_type,
    _set_wide,
    mutate_bytes,
)
