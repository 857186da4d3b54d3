"""Archives that become far more than they are: rows B7, B9 and B14, and the deflated transfer syntax of B37."""

from __future__ import annotations

import io
from collections.abc import Iterator

from pydicom import dcmwrite
from pydicom.uid import DeflatedExplicitVRLittleEndian

from phantom.corpus.case import Case, accepted, rejected, unopened, whole
from phantom.corpus.chest import MIB, Chest
from phantom.corpus.files import pack, set_instance_uid
from phantom.corpus.raw_zip import (
    RawEntry,
    compute_crc32_of_zeros,
    deflate_zeros,
    honest,
    iterate_raw,
    pack_raw,
)

_MEMBERS = 20
_AFTER_GROUP_LENGTH = 128 + 4 + 12
"""Preamble, mark, and the element that tells how long the rest of the meta group is."""


def make_flat_bomb(length: int, *, declared: int | None = None) -> bytes:
    """Return a ZIP of one file of `length` zero bytes; it tells the truth about that unless `declared` lies."""
    crc32 = compute_crc32_of_zeros(length)
    entry = RawEntry(b"a.dcm", deflate_zeros(length), declared=declared or length, crc32=crc32)
    return b"".join(iterate_raw([entry]))


def make_many_members(length: int, members: int, *, declared: int | None = None) -> bytes:
    """Return a ZIP of files that are small each and too large together."""
    stored, crc32 = deflate_zeros(length), compute_crc32_of_zeros(length)
    entries = (RawEntry(b"%d.txt" % n, stored, declared=declared or length, crc32=crc32) for n in range(members))
    return b"".join(iterate_raw(entries))


def _make_zip64(chest: Chest) -> Iterator[bytes]:
    length = chest.scale.huge_member_bytes
    note = RawEntry(b"note.bin", deflate_zeros(length), declared=length, crc32=compute_crc32_of_zeros(length))
    return iterate_raw([*(honest(name.encode(), content) for name, content in chest.files.items()), note])


def _make_deflated_bomb(chest: Chest) -> bytes:
    """Put a deflated dataset of zeros, far larger than the limit, into an archive that is stored."""
    dataset = chest.read(0)
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    set_instance_uid(dataset, "1.2.3")
    buffer = io.BytesIO()
    dcmwrite(buffer, dataset, enforce_file_format=True)
    content = buffer.getvalue()
    start = _AFTER_GROUP_LENGTH + int.from_bytes(content[_AFTER_GROUP_LENGTH - 4 : _AFTER_GROUP_LENGTH], "little")
    return pack({"bomb.dcm": content[:start] + deflate_zeros(chest.scale.archive_bytes + MIB)})


CASES: tuple[Case, ...] = (
    Case(
        "B7-flat",
        "A flat bomb that tells its size",
        lambda chest: make_flat_bomb(chest.scale.archive_bytes + MIB),
        unopened("archive_expands_too_far"),
        needs_limits=True,
    ),
    Case(
        "B7-many-members",
        "Members that are too large together",
        lambda chest: make_many_members(chest.scale.archive_bytes // (_MEMBERS - 1), _MEMBERS),
        unopened("archive_expands_too_far"),
        needs_limits=True,
    ),
    Case(
        "B7-blank-slice",
        "A blank file that deflates a thousandfold and is no bomb",
        lambda chest: pack_raw(
            *(honest(name.encode(), content) for name, content in chest.files.items()),
            honest(b"blank.bin", bytes(MIB)),
        ),
        accepted(files={"not_dicom": 1}, study=whole),
    ),
    Case(
        "B9-says-1-KiB",
        "A member that says 1 KiB and becomes more than the limit",
        lambda chest: make_flat_bomb(chest.scale.archive_bytes + MIB, declared=1024),
        rejected("archive_expands_too_far"),
    ),
    Case(
        "B9-many-members",
        "Members that each say 1 KiB",
        lambda chest: make_many_members(chest.scale.archive_bytes // (_MEMBERS - 1), _MEMBERS, declared=1024),
        rejected("archive_expands_too_far"),
    ),
    Case(
        "B14-zip64",
        "A good study beside a member that needs ZIP64 at full scale",
        _make_zip64,
        accepted(files={"not_dicom": 1}, study=whole),
    ),
    Case(
        "B37-deflated-bomb",
        "A dataset in the deflated transfer syntax that becomes more than the limit",
        _make_deflated_bomb,
        rejected("archive_expands_too_far"),
        needs_limits=True,
    ),
)
