"""Looks for marks in bytes of any kind, however they are written or packed."""

from __future__ import annotations

import base64
import re
import zlib
from collections.abc import Iterator
from pathlib import Path

import blosc2

from tests.privacy.identity import DATE_MARK, MARK, UID_MARK

IDENTITY = (MARK, UID_MARK)
"""Marks that may stand nowhere but in the upload."""

_AROUND = 40
_DATE = re.compile(rb"(?<![0-9.])(?:%s(?![0-9])|%s120000|1877-03-19)" % ((DATE_MARK.encode(),) * 2))
_PNG = b"\x89PNG\r\n\x1a\n"


def find_marks(content: bytes, *marks: str) -> list[bytes]:
    """Return where marks or dates of the patient stand, with what surrounds them."""
    small = content.lower()
    needles = [needle for mark in marks for needle in _spell(mark) if needle in small]
    places = [small.index(needle) for needle in needles] + [found.start() for found in _DATE.finditer(content)]
    return [content[max(0, place - _AROUND) : place + _AROUND] for place in places]


def expand(content: bytes) -> Iterator[bytes]:
    """Yield an object's bytes, and what they hold when they are unpacked."""
    yield content
    if content.startswith(_PNG):
        yield b"".join(_iterate_png(content))
    if b"b2frame" in content[:16]:
        array = blosc2.ndarray_from_cframe(content)
        yield array[:].tobytes()
        yield from (str(array.schunk.vlmeta[name]).encode() for name in array.schunk.vlmeta)


def iterate_files(folder: Path, *, but: set[str]) -> Iterator[tuple[str, bytes]]:
    """Yield every file below a folder, with its path in it, but those below the folders named."""
    for path in sorted(folder.rglob("*")):
        relative = path.relative_to(folder)
        if path.is_file() and relative.parts[0] not in but:
            yield str(relative), path.read_bytes()


def _iterate_png(content: bytes) -> Iterator[bytes]:
    """Yield the pixels of a PNG and every chunk of text."""
    position, pixels = len(_PNG), b""
    while position < len(content):
        length, kind = int.from_bytes(content[position : position + 4], "big"), content[position + 4 : position + 8]
        chunk = content[position + 8 : position + 8 + length]
        pixels += chunk if kind == b"IDAT" else b""
        yield chunk if kind != b"zTXt" else zlib.decompress(chunk.partition(b"\0")[2][1:])
        position += 12 + length
    yield zlib.decompress(pixels)


def _spell(mark: str) -> set[bytes]:
    """Return the ways in which a mark may be written, in small letters."""
    plain = [mark.encode(encoding) for encoding in ("latin-1", "utf-16-le", "utf-16-be")]
    return {spelled.lower() for raw in plain for spelled in (raw, raw.hex().encode(), *_spell_base64(raw))}


def _spell_base64(raw: bytes) -> Iterator[bytes]:
    """Yield the characters that stand for `raw` alone, at each of the three places where it may begin."""
    for shift in range(3):
        whole = base64.b64encode(bytes(shift) + raw)
        yield whole[-(-shift * 8 // 6) : (shift + len(raw)) * 8 // 6]
