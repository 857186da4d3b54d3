"""What is fuzzed in this process: the readers that are Python. A target reads one input and says what became of it.

Its own refusals are answers; whatever else it raises is a failure.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path

from shared.byte_units import MIB
from shared.errors import InputProblem
from tests.fuzz.dicom_mutations import mutate_dicom
from tests.fuzz.nifti_mutations import mutate_nifti
from tests.fuzz.seeds import list_archives, list_files, list_nifti
from tests.fuzz.target import Broken, Target
from tests.fuzz.zip_mutations import mutate_zip
from tests.hostile.packing import MemorySource
from workers.intake.archive import ExpansionBudget, Member, open_zip
from workers.intake.archive.names import escape_name
from workers.intake.choice.ranking import rank
from workers.intake.dicom.encapsulation import extract_frame
from workers.intake.dicom.header import Image
from workers.intake.dicom.streams import find_codestream, read_jpeg_2000_header, read_jpeg_header
from workers.intake.dicom.syntaxes import Codec
from workers.intake.dicomdir import find_absent, read_referenced_files
from workers.intake.files import FileRejected
from workers.intake.limits import IntakeLimits
from workers.intake.nifti import read_nifti
from workers.intake.stacks.grouping import group_into_stacks
from workers.intake.study_files import Looker, StudyFiles

LIMITS = IntakeLimits(archive_bytes=4 * MIB, archive_entries=200, memory_bytes=96 * MIB, threads=1)


@dataclass(frozen=True)
class MemoryMember:
    """A file in memory, as intake looks at it."""

    content: bytes
    ordinal: int = 0
    name: str = "file"
    crc32: int = 0

    @property
    def size_bytes(self) -> int:
        return len(self.content)

    @property
    def fits_memory(self) -> bool:
        return True

    def read_beginning(self, length: int) -> bytes:
        return self.content[:length]

    def read(self, budget: ExpansionBudget) -> bytes:
        budget.spend(len(self.content))
        return self.content

    def iterate(self, budget: ExpansionBudget) -> Iterator[bytes]:
        yield self.read(budget)


def read_archive(content: bytes, _scratch: Path) -> str:
    """Read every byte of a ZIP, in both ways."""
    try:
        members = open_zip(MemorySource(content), LIMITS)
        outcomes = [_read_member(member) for member in members]
        find_absent(read_referenced_files(content), [member.name for member in members])
    except InputProblem as refusal:
        return str(refusal.problem.code)
    return " ".join(sorted(set(outcomes)))


def _read_member(member: Member) -> str:
    if not escape_name(member.name).isprintable():
        raise Broken("a name that cannot be shown")
    budget = ExpansionBudget(LIMITS.archive_bytes)
    beginning = whole = None
    with suppress(FileRejected):
        beginning = member.read_beginning(1024)
    try:
        pieces = list(member.iterate(budget))
    except FileRejected as rejected:
        with suppress(FileRejected):
            member.read(budget)
            raise Broken("read whole but not in pieces") from rejected
        return rejected.code
    whole = member.read(budget)
    if whole != b"".join(pieces) or beginning != whole[: len(beginning or b"")] or len(whole) != member.size_bytes:
        raise Broken("three ways of reading do not agree")
    return "read"


def read_header(content: bytes, _scratch: Path) -> str:
    """Look at a DICOM file, put its images into stacks, and find its compressed frames."""
    study = StudyFiles()
    try:
        Looker(study, ExpansionBudget(LIMITS.archive_bytes)).look_at([MemoryMember(content)], lambda _share: None)
    except InputProblem as refusal:
        return str(refusal.problem.code)
    (file,) = study.files
    if not (file.detail or "").isprintable() or len(file.detail or "") > 1000:
        raise Broken("a detail that cannot be shown")
    for image in study.images:
        if not math.isfinite(image.height_mm):
            raise Broken("an image without a place")
    grouping = group_into_stacks(study.images, lambda image: hashlib.blake2b(bytes([image.frame % 256])).digest())
    candidates = rank(grouping.stacks, volume_limit_bytes=LIMITS.volume_bytes)
    frames = {_find_frame(content, image) for image in study.images[:2]}
    problems = {str(candidate.problem and candidate.problem.code) for candidate in candidates}
    return " ".join((str(file.code), str(len(study.images)), *sorted(problems), *sorted(frames)))


def _find_frame(content: bytes, image: Image) -> str:
    layout = image.pixels
    if layout.syntax.codec is None or layout.offset > len(content):
        return "native"
    try:
        stream = extract_frame(content[layout.offset :], image.frame, layout.frames, layout.syntax.codec)
        if layout.syntax.codec is Codec.JPEG_2000:
            read_jpeg_2000_header(find_codestream(stream))
        elif layout.syntax.codec is not Codec.RLE:
            read_jpeg_header(stream)
    except FileRejected as rejected:
        return rejected.code
    return layout.syntax.codec


def read_volume(content: bytes, scratch: Path) -> str:
    """Read a NIfTI file."""
    try:
        volume = read_nifti(MemorySource(content), LIMITS, scratch=scratch)
    except InputProblem as refusal:
        return f"{refusal.problem.code} {len(refusal.problem.detail) // 20}"
    if not all(math.isfinite(number) for number in (*volume.geometry.spacing_zyx_mm, *volume.geometry.origin_lps_mm)):
        raise Broken("a volume without a place")
    return " ".join(("read", *(notice.code for notice in volume.notices)))


TARGETS = {
    "archive": Target(list_archives, mutate_zip, lambda: nullcontext(read_archive)),
    "headers": Target(list_files, mutate_dicom, lambda: nullcontext(read_header)),
    "nifti": Target(list_nifti, mutate_nifti, lambda: nullcontext(read_volume)),
}
