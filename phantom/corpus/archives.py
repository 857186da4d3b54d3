"""Archives that break their own format or are more than an archive may be: rows B6, B8, B10 to B13, B15 and B16."""

from __future__ import annotations

import io
import stat
import tarfile
from functools import partial

from phantom.corpus.case import Case, rejected, unopened
from phantom.corpus.chest import Chest
from phantom.corpus.files import pack
from phantom.corpus.raw_zip import RawEntry, honest, iterate_empty_entries, pack_raw

UNSAFE_NAMES = {
    "parent": "../../etc/x",
    "inner-parent": "a/../../x",
    "absolute": "/etc/x",
    "drive": "C:/x",
    "drive-relative": "c:x",
    "parent-backslash": "..\\x",
    "backslash": "a\\b",
    "share": "\\\\host\\x",
}
LINK_KINDS = {
    "symlink": stat.S_IFLNK,
    "character-device": stat.S_IFCHR,
    "block-device": stat.S_IFBLK,
    "fifo": stat.S_IFIFO,
    "socket": stat.S_IFSOCK,
}
ENCRYPTIONS = {"classic": (0x0001, 8), "strong": (0x0041, 8), "masked-headers": (0x2001, 8), "aes": (0x0001, 99)}
METHODS = {"deflate64": 9, "bzip2": 12, "lzma": 14, "zstandard": 93, "ppmd": 98}
FOREIGN = {
    "rar": b"Rar!\x1a\x07\x01\x00",
    "7z": b"7z\xbc\xaf\x27\x1c",
    "gzip": b"\x1f\x8b\x08\x00",
    "bzip2": b"BZh91AY&SY",
    "xz": b"\xfd7zXZ\x00",
}
"""Archives of other kinds by their first bytes."""


def overlap_twins() -> bytes:
    """Return a ZIP of two entries that lie on the same bytes."""
    entry = honest(b"a.dcm", b"x" * 100)
    return pack_raw(entry, RawEntry(b"a.dcm", b"", declared=100, crc32=entry.crc32, offset=0))


def overlap_quoted() -> bytes:
    """Return a ZIP whose first entry quotes the header of the second one, which lies inside it."""
    inner = honest(b"b", b"y" * 10)
    quoted = pack_raw(inner)[: 30 + 1 + len(inner.stored)]
    outer = RawEntry(b"a", quoted, method=0, declared=len(quoted))
    return pack_raw(outer, RawEntry(b"b", b"", crc32=inner.crc32, declared=10, offset=31))


def make_tar() -> bytes:
    """Return a tar of one empty file."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        tar.addfile(tarfile.TarInfo("a"))
    return buffer.getvalue()


def lie_about_count(chest: Chest) -> bytes:
    """Return a ZIP of too many entries whose end record counts one."""
    archive = bytearray(b"".join(iterate_empty_entries(chest.scale.archive_entries + 1)))
    if chest.scale.archive_entries < 0xFFFF:
        archive[-14:-10] = b"\x01\x00\x01\x00"
    return bytes(archive)


def _cut(chest: Chest, share: float) -> bytes:
    archive = pack(chest.files)
    return archive[: int(len(archive) * share)]


def _add(chest: Chest, entry: RawEntry) -> bytes:
    """Put one bad entry behind good ones."""
    return pack_raw(*(honest(name.encode(), content) for name, content in chest.take(0, 3).items()), entry)


def _add_file(chest: Chest, name: str, content: bytes) -> bytes:
    return pack({**chest.take(0, 3), name: content})


def _list_cut() -> list[Case]:
    shares = {"tenth": 0.1, "half": 0.5, "directory": 0.999}
    return [
        Case(f"B6-{name}", f"A ZIP cut after {share:.1%}", partial(_cut, share=share), unopened("archive_truncated"))
        for name, share in shares.items()
    ]


def _list_bad_entries() -> list[Case]:
    """List the archives that one entry spoils: what is wrong, the entry, and the answer."""
    cases = [
        (f"B11-{kind}", f"An entry named {name}", honest(name.encode(), b"x"), unopened("archive_unsafe_path"))
        for kind, name in UNSAFE_NAMES.items()
    ]
    cases += [
        (f"B12-{name}", f"A {name} as an entry", make_link(kind), unopened("archive_link_entry"))
        for name, kind in LINK_KINDS.items()
    ]
    cases += [
        (
            f"B13-{name}",
            f"An encrypted entry ({name})",
            honest(b"a", b"x", flags=flags, method=method),
            unopened("archive_encrypted"),
        )
        for name, (flags, method) in ENCRYPTIONS.items()
    ]
    cases += [
        (
            f"B16-{name}",
            f"An entry compressed by {name}",
            honest(b"a", b"x", method=method),
            unopened("archive_method_unsupported", facts={"method": name}),
        )
        for name, method in METHODS.items()
    ]
    return [Case(id_, title, partial(_add, entry=entry), expected) for id_, title, entry, expected in cases]


def make_link(kind: int) -> RawEntry:
    """Return an entry whose mode is that of a link or a device."""
    return honest(b"link", b"/etc/passwd", mode=kind | 0o777)


def _list_nested() -> list[Case]:
    return [
        Case(
            f"B15-{kind}",
            f"A {kind} archive inside the ZIP",
            partial(_add_file, name=f"inner.{kind}", content=magic + bytes(100)),
            rejected("archive_nested", facts={"kind": kind}),
        )
        for kind, magic in FOREIGN.items()
    ]


CASES: tuple[Case, ...] = (
    *_list_cut(),
    Case("B6-nothing-else", "The first four bytes of a ZIP", lambda _: b"PK\x03\x04", unopened("archive_truncated")),
    Case(
        "B8-twins", "Two entries on the same bytes", lambda _: overlap_twins(), unopened("archive_overlapping_entries")
    ),
    Case(
        "B8-quoted",
        "An entry that quotes the next one's header",
        lambda _: overlap_quoted(),
        unopened("archive_overlapping_entries"),
    ),
    Case(
        "B10-many",
        "More entries than any study has",
        lambda chest: iterate_empty_entries(chest.scale.many_entries),
        unopened("archive_too_many_entries"),
        needs_limits=True,
    ),
    Case(
        "B10-miscounted",
        "More entries than the end of the archive counts",
        lie_about_count,
        unopened("archive_too_many_entries"),
        needs_limits=True,
    ),
    *_list_bad_entries(),
    *_list_nested(),
    Case(
        "B15-zip",
        "A ZIP of a good study inside the ZIP",
        lambda chest: pack({"study.zip": pack(chest.files)}),
        rejected("archive_nested", facts={"kind": "zip"}),
    ),
    Case(
        "B15-tar",
        "A tar inside the ZIP",
        lambda chest: _add_file(chest, "inner.tar", make_tar()),
        rejected("archive_nested", facts={"kind": "tar"}),
    ),
)
