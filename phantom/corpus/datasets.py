"""Files that are damaged or hostile inside a good archive: rows B17, B29, B30 and B38."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import replace
from functools import partial

from pydicom import Dataset

from phantom.corpus.case import Case, accepted, rejected, whole
from phantom.corpus.chest import Chest
from phantom.corpus.files import Change, Files, change_file, delete, edit, pack, put, split_before_pixels
from phantom.corpus.raw_zip import RawEntry, honest, pack_raw

_DEPTH = 10_000
_ELEMENTS = 250_000
_CUT_BYTES = 1_000
PREAMBLES = {
    "elf": b"\x7fELF\x02\x01\x01",
    "html": b"<html><script>alert(1)</script></html>",
    "pickle": b"\x80\x04cos\nsystem\n(S'id'\ntR.",
    "executable": b"MZ\x90\x00",
}


def add_file(chest: Chest, make: Callable[[Chest], bytes], name: str = "bad.dcm") -> bytes:
    """Return the good study with one more file."""
    return pack({**chest.files, name: make(chest)})


def make_other_instance(chest: Chest, *changes: Change) -> bytes:
    """Return a copy of the topmost slice under its own SOPInstanceUID, changed."""
    return change_file(chest.files[chest.names[0]], put("SOPInstanceUID", "1.2.3"), *changes)


def nest_deeply(chest: Chest) -> bytes:
    """Return a slice with sequences inside sequences, ten thousand deep."""
    head, pixels = split_before_pixels(make_other_instance(chest))
    sequence = struct.pack("<HH2sHI", 0x0040, 0xA730, b"SQ", 0, 0xFFFFFFFF)
    opening = sequence + struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF)
    closing = struct.pack("<HHI", 0xFFFE, 0xE00D, 0) + struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
    return head + opening * _DEPTH + closing * _DEPTH + pixels


def declare_two_gibibytes(chest: Chest) -> bytes:
    """Return a slice with a text that claims 2 GiB and is not there."""
    head, pixels = split_before_pixels(make_other_instance(chest))
    return head + struct.pack("<HH2sHI", 0x0040, 0xA160, b"UT", 0, 0x7FFFFFFF) + pixels


def repeat_elements(chest: Chest) -> bytes:
    """Return a slice with a quarter of a million empty elements."""
    head, pixels = split_before_pixels(make_other_instance(chest))
    return head + struct.pack("<HH2sH", 0x0040, 0xA160, b"LO", 0) * _ELEMENTS + pixels


def set_preamble(content: bytes, preamble: bytes) -> bytes:
    """Return a file with another preamble."""
    return preamble.ljust(128, b"\0") + content[128:]


def damage_crc(chest: Chest) -> bytes:
    """Return the study with a wrong CRC for one slice in its middle."""
    entries = [honest(name.encode(), content) for name, content in chest.files.items()]
    entries[chest.middle] = replace(entries[chest.middle], crc32=1)
    return pack_raw(*entries)


def damage_many(chest: Chest) -> bytes:
    """Return the study with every second slice of its middle no deflate stream at all."""
    entries = [honest(name.encode(), content) for name, content in chest.files.items()]
    for position in range(chest.middle - 15, chest.middle + 15, 2):
        entry = entries[position]
        entries[position] = RawEntry(entry.name, b"\xff" * 20, declared=entry.declared, crc32=entry.crc32)
    return pack_raw(*entries)


def truncate_pixels(chest: Chest, every: int) -> bytes:
    """Return the study with the end cut off from slices of its middle: one, or every n-th."""
    files = Files(chest.files)
    chosen = chest.names[chest.middle : chest.middle + 1] if not every else chest.names[10:-10:every]
    for name in chosen:
        files[name] = files[name][:-_CUT_BYTES]
    return pack(files)


def _hide_pickle(dataset: Dataset) -> None:
    dataset.private_block(0x0029, "CTCLIP CORPUS", create=True).add_new(1, "OB", PREAMBLES["pickle"] + b"\0")


def _set_preambles(chest: Chest, preamble: bytes) -> bytes:
    return pack({name: set_preamble(content, preamble) for name, content in chest.files.items()})


def _list_one_file() -> list[Case]:
    """List what is wrong with one file, which is set aside while the study is read."""
    hostile = "hostile_structure"
    bad: list[tuple[str, str, Callable[[Chest], bytes], str]] = [
        ("B29-one-more", "a slice too much, its pixels cut", _cut_other_instance, "pixels_truncated"),
        ("B38-nested", "sequences ten thousand deep", nest_deeply, hostile),
        ("B38-huge-value", "a value that claims 2 GiB", declare_two_gibibytes, hostile),
        ("B38-elements", "a quarter of a million elements", repeat_elements, hostile),
    ]
    bad += [
        (
            f"B30-{keyword}",
            f"{keyword} of {value}",
            partial(_put_in_other, keyword=keyword, value=value),
            "dimensions_exceed_limit",
        )
        for keyword, value in (("Rows", 65_535), ("Columns", 65_535), ("NumberOfFrames", 1_000_000))
    ]
    return [
        Case(id_, f"One file more: {what}", partial(add_file, make=make), accepted(files={code: 1}, study=whole))
        for id_, what, make, code in bad
    ]


def _cut_other_instance(chest: Chest) -> bytes:
    return make_other_instance(chest)[:-_CUT_BYTES]


def _put_in_other(chest: Chest, keyword: str, value: int) -> bytes:
    return make_other_instance(chest, put(keyword, value))


CASES: tuple[Case, ...] = (
    Case(
        "B17-one",
        "A wrong CRC for one slice",
        damage_crc,
        accepted("slices_interpolated", "files_rejected", files={"crc_mismatch": 1}),
    ),
    Case("B17-many", "Fifteen slices that cannot be unpacked", damage_many, rejected("series_incomplete")),
    Case(
        "B29-one",
        "Pixels cut short in one slice",
        partial(truncate_pixels, every=0),
        accepted("slices_interpolated", "files_rejected", files={"pixels_truncated": 1}),
    ),
    Case(
        "B29-many",
        "Pixels cut short in every second slice",
        partial(truncate_pixels, every=2),
        rejected("series_incomplete"),
    ),
    *_list_one_file(),
    Case(
        "B30-all",
        "65,535 x 65,535 x 1,000,000 in every file",
        lambda chest: pack(edit(edit(chest.files, put("Rows", 65_535)), put("NumberOfFrames", 1_000_000))),
        rejected("no_usable_series"),
    ),
    *(
        Case(
            f"B38-preamble-{kind}",
            f"A preamble that is {kind}",
            partial(_set_preambles, preamble=preamble),
            accepted(study=whole),
        )
        for kind, preamble in PREAMBLES.items()
    ),
    Case(
        "B38-private-pickle",
        "A pickle in a private tag",
        lambda chest: pack(edit(chest.files, _hide_pickle)),
        accepted(study=whole),
    ),
    Case(
        "B38-script-name",
        "A script for a patient's name",
        lambda chest: pack(edit(chest.files, put("PatientName", "<script>alert(1)</script>"))),
        accepted(study=whole),
    ),
    Case(
        "B38-no-pixels",
        "Every file without its pixels",
        lambda chest: pack(edit(chest.files, delete("PixelData"))),
        rejected("wrong_modality"),
    ),
)
