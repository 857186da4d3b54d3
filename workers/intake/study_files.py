"""Reads every file of an archive once: inflated, checked, scanned, and kept in the spool when it is a CT image."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import zip_longest

from shared.errors import InputProblem
from shared.problems import ProblemCode
from shared.settings import MIB
from workers.intake.archive import ByteSource, Entry, ExpansionBudget, iterate_content, read_directory
from workers.intake.archive.names import escape_name, is_junk
from workers.intake.dicom.deflated import inflate_dataset
from workers.intake.dicom.enhanced import read_frames
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
from workers.intake.dicom.scanner import NeedsMore
from workers.intake.dicom.tags import Tag
from workers.intake.files import FileCode, FileIgnored, FileOutcome, FileRejected, FileReport
from workers.intake.limits import IntakeLimits
from workers.intake.spool import Spool

Progress = Callable[[float], None]

_LARGEST_HEADER_BYTES = 256 * MIB
_ARCHIVES = {
    b"PK\x03\x04": "zip",
    b"PK\x05\x06": "zip",
    b"Rar!": "rar",
    b"7z\xbc\xaf": "7z",
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
    b"\xfd7zX": "xz",
    b"(\xb5/\xfd": "zstandard",
}
_TAR_MARK = (257, b"ustar")
_DOCUMENTS = (".docx", ".xlsx", ".pptx", ".odt", ".ods", ".odp", ".jar", ".epub")


@dataclass
class StudyFiles:
    """What was found so far. Filled in place, so that a refusal half-way still lists the files before it."""

    files: list[FileReport] = field(default_factory=list)
    images: list[Image] = field(default_factory=list)
    identities: list[Identity] = field(default_factory=list)
    modalities: Counter[str] = field(default_factory=Counter)
    missing_tags: Counter[str] = field(default_factory=Counter)
    without_preamble: int = 0

    def set_outcome(self, ordinal: int, outcome: FileOutcome, code: FileCode, detail: str) -> None:
        """Change what became of a file; a file that is rejected stays rejected."""
        for position, report in enumerate(self.files):
            if report.ordinal == ordinal and report.outcome is not FileOutcome.REJECTED:
                self.files[position] = report.set_aside(outcome, code, detail)


def read_archive(source: ByteSource, spool: Spool, limits: IntakeLimits, found: StudyFiles, report: Progress) -> None:
    """Read all entries of a ZIP into `found`. Raises InputProblem for an archive that must not be read."""
    entries = read_directory(source, limits)
    budget = ExpansionBudget(limits.archive_bytes)
    for entry, following in zip_longest(entries, entries[1:]):
        if not entry.is_folder:
            reader = _FileReader(entry, spool, budget, found)
            reader.read(iterate_content(source, entry, budget, next_offset=following.offset if following else None))
        report(entry.offset / source.size_bytes)
    found.files.sort(key=lambda file: file.ordinal)


class _FileReader:
    """Reads one entry."""

    def __init__(self, entry: Entry, spool: Spool, budget: ExpansionBudget, found: StudyFiles) -> None:
        self._entry = entry
        self._spool = spool
        self._budget = budget
        self._found = found
        self._start = spool.size_bytes
        self._size_bytes = 0

    def read(self, pieces: Iterator[bytes]) -> None:
        outcome, code, detail = FileOutcome.USED, None, None
        try:
            self._take(pieces)
        except FileIgnored as ignored:
            outcome, code, detail = FileOutcome.IGNORED, ignored.code, ignored.detail
        except FileRejected as rejected:
            outcome, code, detail = FileOutcome.REJECTED, rejected.code, rejected.detail
            self._found.missing_tags.update(rejected.tags)
        if outcome is not FileOutcome.USED:
            self._spool.cut(self._start)
        name = escape_name(self._entry.name)
        self._found.files.append(FileReport(self._entry.ordinal, name, self._size_bytes, outcome, code, detail))

    def _take(self, pieces: Iterator[bytes]) -> None:
        beginning = next(pieces, b"")
        self._size_bytes = len(beginning)
        self._check_kind(beginning, pieces)
        self._spool.append(beginning)
        for piece in pieces:
            self._size_bytes += len(piece)
            self._spool.append(piece)
        content = self._inflate_dataset(beginning)
        self._parse(content, is_whole=len(content) == self._size_bytes)

    def _check_kind(self, beginning: bytes, pieces: Iterator[bytes]) -> None:
        """Set aside what is no DICOM file, after counting the rest of it."""
        name = self._entry.name
        is_left_over = is_junk(name)
        if not is_left_over and looks_like_dicom(beginning):
            return
        kind = _find_archive_kind(beginning)
        if kind and not is_left_over and not name.lower().endswith(_DOCUMENTS):
            detail = f"Entry {self._entry.ordinal + 1} is itself an archive ({kind})."
            raise InputProblem(ProblemCode.ARCHIVE_NESTED, detail, kind=kind)
        self._size_bytes += sum(len(piece) for piece in pieces)
        if is_left_over:
            raise FileIgnored(FileCode.JUNK, "left behind by a file manager")
        if name.rpartition("/")[2].upper() == "DICOMDIR":
            raise FileIgnored(FileCode.DICOMDIR, "a DICOMDIR lists files; the files themselves are read")
        raise FileIgnored(FileCode.NOT_DICOM, "not a DICOM file")

    def _inflate_dataset(self, beginning: bytes) -> bytes:
        """Replace a deflated dataset in the spool by its expanded form, and return the beginning of that."""
        start = find_deflated(beginning)
        if start is None:
            return beginning
        deflated = self._spool.read(self._start + start, self._size_bytes - start)
        self._spool.cut(self._start + start)
        self._size_bytes = start
        for piece in inflate_dataset(deflated, self._budget):
            self._spool.append(piece)
            self._size_bytes += len(piece)
        return self._spool.read(self._start, min(self._size_bytes, MIB))

    def _parse(self, content: bytes, *, is_whole: bool) -> None:
        try:
            dataset = scan_file(content, is_whole=is_whole)
        except NeedsMore:
            if self._size_bytes > _LARGEST_HEADER_BYTES:
                raise FileRejected(FileCode.HOSTILE_STRUCTURE, "no pixel data within 256 MiB") from None
            content = self._spool.read(self._start, self._size_bytes)
            dataset = scan_file(content, is_whole=True)
        self._found.images.extend(self._make_images(content, dataset))
        self._found.without_preamble += not dataset.has_preamble

    def _make_images(self, content: bytes, dataset: Dataset) -> list[Image]:
        attributes = dataset.attributes
        identity = read_identity(attributes)
        technique = read_technique(attributes, dataset.syntax)
        self._found.identities.append(identity)
        self._found.modalities[technique.modality] += 1
        check_is_wanted(attributes, technique, has_pixels=dataset.elements.pixels_offset is not None)
        layout = read_layout(dataset, self._size_bytes)
        if Tag.PerFrameFunctionalGroupsSequence in attributes or layout.frames > 1:
            padding = read_padding(attributes, is_signed=layout.is_signed)
            frames = read_frames(content[: layout.offset], technique, frames=layout.frames, padding=padding)
            placed = [(frame.placement, frame.technique) for frame in frames]
        else:
            placed = [(read_placement(attributes, is_signed=layout.is_signed), technique)]
        return [
            Image(
                ordinal=self._entry.ordinal,
                frame=number,
                spool_offset=self._start,
                file_bytes=self._size_bytes,
                crc32=self._entry.crc32,
                identity=identity,
                technique=technique,
                placement=placement,
                pixels=layout,
            )
            for number, (placement, technique) in enumerate(placed)
        ]


def _find_archive_kind(beginning: bytes) -> str | None:
    position, mark = _TAR_MARK
    if beginning[position : position + len(mark)] == mark:
        return "tar"
    return next((kind for magic, kind in _ARCHIVES.items() if beginning.startswith(magic)), None)
