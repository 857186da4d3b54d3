"""Changes to ZIP archives that keep most of their structure: fields of records, entries, names, deflate streams."""

from __future__ import annotations

import io
import re
import struct
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import lru_cache
from random import Random

from phantom.corpus.raw_zip import STORED, RawEntry, deflate, honest, pack_raw
from tests.fuzz.byte_mutations import Mutation, mutate_bytes, mutate_often, overwrite_number, pick_number
from tests.fuzz.dicom_mutations import mutate_dicom

# Offset and size of each field behind the signature (APPNOTE 6.3.10, 4.3).
_FIELDS: Mapping[bytes, tuple[tuple[int, int], ...]] = {
    b"PK\x03\x04": ((4, 2), (6, 2), (8, 2), (14, 4), (18, 4), (22, 4), (26, 2), (28, 2)),
    b"PK\x01\x02": (
        (4, 2),
        (8, 2),
        (10, 2),
        (16, 4),
        (20, 4),
        (24, 4),
        (28, 2),
        (30, 2),
        (32, 2),
        (34, 2),
        (38, 4),
        (42, 4),
    ),
    b"PK\x05\x06": ((4, 2), (6, 2), (8, 2), (10, 2), (12, 4), (16, 4), (20, 2)),
    b"PK\x06\x06": ((4, 8), (16, 4), (20, 4), (24, 8), (32, 8), (40, 8), (48, 8)),
    b"PK\x06\x07": ((4, 4), (8, 8), (16, 4)),
}
_MOST_FILES = 70
_LONGEST_FILE = 1 << 16
_SIGNATURES = re.compile(b"|".join(map(re.escape, _FIELDS)))
_NAMES = (b"", b"/", b"a/", b"../a", b"\0", b"a\\b", b"C:a", b"\xff\xfe", b"DICOMDIR", b"__MACOSX/._a", b"a" * 40_000,
          b"x.docx", "\u202egpj.mcd".encode(), b"..\0/a", b"a/../../b", b"//a")  # fmt: skip
_LIES: tuple[Callable[[RawEntry, int], RawEntry], ...] = (
    lambda entry, number: replace(entry, crc32=number),
    lambda entry, number: replace(entry, declared=number),
    lambda entry, number: replace(entry, method=number),
    lambda entry, number: replace(entry, flags=number),
    lambda entry, number: replace(entry, mode=number),
    lambda entry, number: replace(entry, offset=number),
)


def mutate_zip(random: Random, content: bytes) -> bytes:
    """Change an archive once or some times."""
    return mutate_often(random, content, _MUTATIONS)


@lru_cache(maxsize=64)
def unpack_leniently(content: bytes) -> Mapping[str, bytes]:
    """Return the first files of an archive and the beginning of each, as far as it can be read."""
    files: dict[str, bytes] = {}
    with suppress(Exception), zipfile.ZipFile(io.BytesIO(content)) as archive:
        for entry in archive.infolist()[:_MOST_FILES]:
            with suppress(Exception), archive.open(entry) as file:
                files[entry.filename] = file.read(_LONGEST_FILE)
    return files


def repack(files: Mapping[str, bytes]) -> bytes:
    """Return an archive of files as they are, under names that no library would write; empty where none can be made."""
    return (
        _pack(
            [
                RawEntry(name.encode("utf-8", "replace"), content, STORED, 0, zlib.crc32(content), len(content))
                for name, content in files.items()
            ]
        )
        or b""
    )


def _set_field(random: Random, content: bytes) -> bytes:
    records = list(_SIGNATURES.finditer(content))
    if not records:
        return mutate_bytes(random, content)
    record = random.choice(records)
    offset, size = random.choice(_FIELDS[record[0]])
    return overwrite_number(random, content, record.start() + offset, size)


def _unpack(content: bytes) -> list[RawEntry]:
    return [honest(name.encode("utf-8", "replace"), inner) for name, inner in unpack_leniently(content).items()]


def _change_entry(content: bytes, random: Random, change: Callable[[RawEntry], RawEntry]) -> bytes:
    """Change one entry of an archive that is written anew."""
    entries = _unpack(content)
    if not entries:
        return mutate_bytes(random, content)
    index = random.randrange(len(entries))
    entries[index] = change(entries[index])
    return _pack(entries) or content


def _pack(entries: Sequence[RawEntry], prefix: bytes = b"") -> bytes | None:
    """Return an archive; None where the format has no room for a number or a name."""
    with suppress(struct.error):
        return pack_raw(*entries, prefix=prefix)
    return None


def _lie(random: Random, content: bytes) -> bytes:
    """Say the same wrong thing in the directory and in the local header."""
    lie = random.choice(_LIES)
    return _change_entry(content, random, lambda entry: lie(entry, pick_number(random)))


def _rename(random: Random, content: bytes) -> bytes:
    name = random.choice(_NAMES)
    local = random.choice((None, None, name[:-1], b"other"))
    return _change_entry(content, random, lambda entry: replace(entry, name=name, local_name=local))


def _store(random: Random, content: bytes) -> bytes:
    """Leave a file as it is instead of deflating it."""
    inner = random.choice(list(unpack_leniently(content).values()) or [b""])
    return _change_entry(content, random, lambda entry: replace(honest(entry.name, inner, method=STORED), stored=inner))


def _change_file(random: Random, content: bytes) -> bytes:
    """Change the content of one file, in an archive that is otherwise right."""
    inner = mutate_dicom(random, random.choice(list(unpack_leniently(content).values()) or [b""]))
    return _change_entry(content, random, lambda entry: honest(entry.name, inner))


def _damage_deflate(random: Random, content: bytes) -> bytes:
    return _change_entry(content, random, lambda entry: replace(entry, stored=mutate_bytes(random, entry.stored)))


def _expand(random: Random, content: bytes) -> bytes:
    """Let more come out of an entry than it declares."""
    stored = deflate(bytes(random.choice((10, 1 << 16, 1 << 20, 1 << 23))))
    return _change_entry(content, random, lambda entry: replace(entry, stored=stored))


def _reorder(random: Random, content: bytes) -> bytes:
    entries = _unpack(content)
    entries += random.choices(entries, k=random.choice((0, 1, 3))) if entries else []
    random.shuffle(entries)
    return _pack(entries, random.choice((b"", b"", b"MZ", bytes(70_000)))) or content


_MUTATIONS: tuple[Mutation, ...] = (
    _set_field, _set_field, _set_field, _lie, _lie, _rename, _store, _change_file, _damage_deflate, _expand, _reorder,
    mutate_bytes, mutate_bytes,
)  # fmt: skip
