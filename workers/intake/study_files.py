"""Looks at every file of a study once: its kind, its header, and what sets it aside. Pixels stay where they are."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field

from shared.artefacts import UploadKind
from shared.byte_units import MIB
from shared.errors import InputProblem
from shared.problems import ProblemCode
from shared.upload_kinds import ForeignKind, judge_foreign_kind, judge_kind
from workers.intake.archive import ExpansionBudget, Member
from workers.intake.archive.names import escape_name, is_junk
from workers.intake.dicom.deflated import inflate_member
from workers.intake.dicom.enhanced import check_groups, read_frames
from workers.intake.dicom.header import Identity, Image
from workers.intake.dicom.parsing import (
    Dataset,
    check_is_wanted,
    find_deflated,
    looks_like_dicom,
    read_identity,
    read_layout,
    read_padding,
    read_placement,
    read_technique,
    scan_file,
)
from workers.intake.dicom.scanner import ElementBudget, NeedsMore
from workers.intake.dicom.tags import Tag
from workers.intake.dicomdir import FileId, read_referenced_files
from workers.intake.files import FileCode, FileIgnored, FileOutcome, FileRejected, FileReport
from workers.intake.progress import Progress

Nested = Callable[[Member, int], Iterable[Member]]
"""Opens a ZIP inside the archive; its files are numbered from the given ordinal."""

_FIRST_LOOK_BYTES = 16 * 1024  # most headers take 2 to 10 KiB
_LOOK_GROWTH = 8
_LARGEST_HEADER_BYTES = 256 * MIB
_ARCHIVES = {
    ForeignKind.RAR,
    ForeignKind.SEVEN_ZIP,
    ForeignKind.GZIP,
    ForeignKind.TAR,
    ForeignKind.TAR_GZIP,
    ForeignKind.BZIP2,
    ForeignKind.XZ,
    ForeignKind.ZSTANDARD,
    ForeignKind.ZIP_VOLUME,
}
_DOCUMENTS = (".docx", ".xlsx", ".pptx", ".odt", ".ods", ".odp", ".jar", ".epub")


@dataclass(frozen=True)
class Origin:
    """The study that a DICOM file names, and its modality; empty strings where it says nothing."""

    study_uid: str
    modality: str


@dataclass
class StudyFiles:
    """What was found so far. Filled in place, so that a refusal half-way still lists the files before it.

    `members` holds the files that have images, `origins` all that are DICOM objects, both by ordinal. `names` are
    those of all files as they came, `referenced` the files that DICOMDIRs list.
    """

    files: list[FileReport] = field(default_factory=list)
    members: dict[int, Member] = field(default_factory=dict)
    images: list[Image] = field(default_factory=list)
    identities: list[Identity] = field(default_factory=list)
    origins: dict[int, Origin] = field(default_factory=dict)
    missing_tags: Counter[str] = field(default_factory=Counter)
    names: list[str] = field(default_factory=list)
    referenced: set[FileId] = field(default_factory=set)
    without_preamble: int = 0

    def keep_study(self, study_uid: str) -> None:
        """Leave aside what belongs to other studies, sound or not: it says nothing of this one."""
        others = {ordinal for ordinal, origin in self.origins.items() if origin.study_uid != study_uid}
        detail = "belongs to another study"
        self.files = [
            file.set_aside(FileOutcome.IGNORED, FileCode.OTHER_STUDY, detail) if file.ordinal in others else file
            for file in self.files
        ]
        self.origins = {ordinal: origin for ordinal, origin in self.origins.items() if ordinal not in others}
        self.images = [image for image in self.images if image.identity.study_uid == study_uid]
        self.identities = [identity for identity in self.identities if identity.study_uid == study_uid]

    def set_outcome(self, ordinal: int, outcome: FileOutcome, code: FileCode, detail: str) -> None:
        """Change what became of a file once all were looked at; a file that is rejected stays rejected."""
        position = bisect_left(self.files, ordinal, key=lambda file: file.ordinal)
        if self.files[position].outcome is not FileOutcome.REJECTED:
            self.files[position] = self.files[position].set_aside(outcome, code, detail)


class Looker:
    """Looks at files, one after the other, under one budget of bytes and one of data elements.

    `open_nested` is what to do with a ZIP inside the archive; without it, one is refused.
    """

    def __init__(
        self,
        found: StudyFiles,
        budget: ExpansionBudget,
        open_nested: Nested | None = None,
        elements: ElementBudget | None = None,
    ) -> None:
        self._found = found
        self._budget = budget
        self._elements = elements or ElementBudget()
        self._open_nested = open_nested

    def look_at(self, members: Iterable[Member], report: Progress) -> None:
        """Look at all files. Raises InputProblem for an archive that must not be read."""
        queue = list(members)
        ordinals = max((member.ordinal for member in queue), default=-1) + 1
        for position, member in enumerate(queue):
            inner = self._look(member, ordinals)
            if inner:
                Looker(self._found, self._budget, elements=self._elements).look_at(inner, lambda _share: None)
                ordinals = max(one.ordinal for one in inner) + 1
            report(position / len(queue))
        self._found.files.sort(key=lambda file: file.ordinal)

    def _look(self, member: Member, next_ordinal: int) -> tuple[Member, ...]:
        """Note what a file is; return the files inside when it is a ZIP that may be opened."""
        outcome, code, detail = FileOutcome.USED, None, None
        inner: tuple[Member, ...] = ()
        size_bytes = member.size_bytes
        try:
            beginning = self._read_beginning(member, _FIRST_LOOK_BYTES)
            inner = self._open(member, beginning, next_ordinal)
            size_bytes = self._take(member, beginning, is_opened=bool(inner))
        except FileIgnored as ignored:
            self._note_directory(member, ignored.code)
            outcome, code, detail = FileOutcome.IGNORED, ignored.code, ignored.detail
        except FileRejected as rejected:
            outcome, code, detail = FileOutcome.REJECTED, rejected.code, rejected.detail
            self._found.missing_tags.update(rejected.tags)
        except InputProblem as problem:
            self._note(member, size_bytes, FileOutcome.REJECTED, FileCode.ARCHIVE_REFUSED, problem.problem.detail)
            raise
        self._note(member, size_bytes, outcome, code, detail)
        return inner

    def _note(
        self, member: Member, size_bytes: int, outcome: FileOutcome, code: FileCode | None, detail: str | None
    ) -> None:
        self._found.names.append(member.name)
        name = escape_name(member.name)
        self._found.files.append(FileReport(member.ordinal, name, size_bytes, outcome, code, detail))

    def _open(self, member: Member, beginning: bytes, next_ordinal: int) -> tuple[Member, ...]:
        """Return the files of a ZIP inside the archive, nothing for any other file. Raises InputProblem."""
        kind = None if is_junk(member.name) or looks_like_dicom(beginning) else _find_archive_kind(beginning)
        if kind is None or member.name.lower().endswith(_DOCUMENTS):
            return ()
        if kind == "zip" and self._open_nested is not None:
            return tuple(self._open_nested(member, next_ordinal))
        detail = f"Entry {member.ordinal + 1} is itself an archive ({kind})."
        raise InputProblem(ProblemCode.ARCHIVE_NESTED, detail, kind=kind)

    def _take(self, member: Member, beginning: bytes, *, is_opened: bool) -> int:
        """Note the images of a file and return its size. Raises FileIgnored and FileRejected."""
        if is_opened:
            raise FileIgnored(FileCode.NESTED_ARCHIVE, "an archive inside the archive; its files are listed too")
        if is_junk(member.name) or not looks_like_dicom(beginning):
            self._set_aside(member)
        start = find_deflated(beginning)
        if start is not None:
            member = inflate_member(member, start, self._budget)
            beginning = self._read_beginning(member, _FIRST_LOOK_BYTES)
        content, dataset = self._scan(member, beginning)
        self._found.images.extend(self._make_images(member, content, dataset))
        self._found.members[member.ordinal] = member
        self._found.without_preamble += not dataset.has_preamble
        return member.size_bytes

    def _set_aside(self, member: Member) -> None:
        """Set aside what is no DICOM file, after counting all of it."""
        for _ in member.iterate(self._budget):
            pass
        if is_junk(member.name):
            raise FileIgnored(FileCode.JUNK, "left behind by a file manager")
        if member.name.rpartition("/")[2].upper() == "DICOMDIR":
            raise FileIgnored(FileCode.DICOMDIR, "a DICOMDIR lists files; the files themselves are read")
        raise FileIgnored(FileCode.NOT_DICOM, "not a DICOM file")

    def _note_directory(self, member: Member, code: FileCode) -> None:
        """Remember which files a DICOMDIR lists. One that cannot be read lists none."""
        if code is FileCode.DICOMDIR and member.fits_memory:
            with suppress(FileRejected):
                self._found.referenced.update(read_referenced_files(member.read(self._budget)))

    def _scan(self, member: Member, beginning: bytes) -> tuple[bytes, Dataset]:
        """Scan the header, reading on as long as it goes on."""
        while True:
            try:
                is_whole = len(beginning) >= member.size_bytes
                return beginning, scan_file(beginning, is_whole=is_whole, budget=self._elements)
            except NeedsMore:
                if len(beginning) >= _LARGEST_HEADER_BYTES:
                    raise FileRejected(FileCode.HOSTILE_STRUCTURE, "no pixel data within 256 MiB") from None
            longer = self._read_beginning(member, len(beginning) * _LOOK_GROWTH)
            if len(longer) <= len(beginning):
                raise FileRejected(FileCode.ENTRY_DAMAGED, f"{len(longer)} of {member.size_bytes} bytes came out")
            beginning = longer

    def _read_beginning(self, member: Member, length: int) -> bytes:
        beginning = member.read_beginning(min(length, _LARGEST_HEADER_BYTES))
        self._budget.spend(len(beginning))
        return beginning

    def _make_images(self, member: Member, content: bytes, dataset: Dataset) -> list[Image]:
        attributes = dataset.attributes
        identity = read_identity(attributes)
        technique = read_technique(attributes, dataset.syntax)
        self._found.identities.append(identity)
        self._found.origins[member.ordinal] = Origin(identity.study_uid, technique.modality)
        check_is_wanted(attributes, technique, has_pixels=dataset.elements.pixels_offset is not None)
        layout = read_layout(dataset, member.size_bytes)
        if Tag.PerFrameFunctionalGroupsSequence in attributes or layout.frames > 1:
            padding = read_padding(attributes, is_signed=layout.is_signed)
            check_groups(content[: layout.offset], self._elements)
            groups = content[dataset.start : layout.offset]
            encoding = dataset.elements.encoding
            frames = read_frames(groups, encoding, technique, frames=layout.frames, padding=padding)
            placed = [(frame.placement, frame.technique) for frame in frames]
        else:
            placed = [(read_placement(attributes, is_signed=layout.is_signed), technique)]
        return [
            Image(
                ordinal=member.ordinal,
                frame=number,
                file_bytes=member.size_bytes,
                crc32=member.crc32,
                identity=identity,
                technique=technique,
                placement=placement,
                pixels=layout,
            )
            for number, (placement, technique) in enumerate(placed)
        ]


def _find_archive_kind(beginning: bytes) -> str | None:
    """Return what kind of archive begins so. A compressed NIfTI file is none."""
    kind = judge_kind(beginning)
    if kind is not None:
        return "zip" if kind is UploadKind.ZIP else None
    foreign = judge_foreign_kind(beginning)
    return str(foreign) if foreign in _ARCHIVES else None
