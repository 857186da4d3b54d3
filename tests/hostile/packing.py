"""Bad archives and bad DICOM files, made by code from a good study."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pydicom

from workers.intake.limits import IntakeLimits
from workers.intake.question import Question
from workers.intake.study import StudyRead, read_study


class Files(dict[str, bytes]):
    """Files by name; shown by their number, for they are large."""

    def __repr__(self) -> str:
        return f"<{len(self)} files>"


@dataclass(frozen=True)
class MemorySource:
    """Bytes in memory, as intake reads them."""

    content: bytes

    @property
    def size_bytes(self) -> int:
        return len(self.content)

    def read_at(self, offset: int, length: int) -> bytes:
        return self.content[offset : offset + length]


def read(
    archive: bytes,
    scratch: Path,
    *,
    limits: IntakeLimits | None = None,
    series_uid: str | None = None,
    study_uid: str | None = None,
) -> StudyRead:
    """Read an archive as the child does."""
    question = Question(series_uid=series_uid, study_uid=study_uid, has_digest=True)
    return read_study(
        MemorySource(archive), question, limits or IntakeLimits(), scratch=scratch, report=lambda _share: None
    )


def get_code(archive: bytes, scratch: Path, *, limits: IntakeLimits | None = None) -> str | None:
    """Return the problem code of an archive, None when it is accepted."""
    problem = read(archive, scratch, limits=limits).report.problem
    return None if problem is None else str(problem.code)


def unpack(archive: Path) -> Files:
    """Return the files of a good ZIP."""
    with zipfile.ZipFile(archive) as opened:
        return Files({name: opened.read(name) for name in opened.namelist()})


def pack(files: Mapping[str, bytes], *, method: int = zipfile.ZIP_STORED) -> bytes:
    """Return an ordinary ZIP."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name, (2020, 1, 1, 0, 0, 0)), content, method)
    return buffer.getvalue()


def edit(
    files: Mapping[str, bytes], change: Callable[[pydicom.Dataset], object], *, every: int = 1, first: int = 0
) -> Files:
    """Return the files with `change` applied to the dataset of every n-th one."""
    edited = Files(files)
    for name in sorted(files)[first::every]:
        dataset = pydicom.dcmread(io.BytesIO(files[name]))
        change(dataset)
        edited[name] = encode(dataset)
    return edited


def encode(dataset: pydicom.Dataset) -> bytes:
    """Return a dataset as a file."""
    buffer = io.BytesIO()
    dataset.save_as(buffer)
    return buffer.getvalue()


@dataclass(frozen=True)
class RawEntry:
    """An entry whose every declaration can lie."""

    name: bytes
    stored: bytes
    method: int = 8
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


def honest(name: bytes, content: bytes, **lies: int | bytes) -> RawEntry:
    """Return an entry that tells the truth but for `lies`."""
    facts = {"crc32": zlib.crc32(content), "declared": len(content), **lies}
    return RawEntry(name, deflate(content), **facts)  # type: ignore[arg-type]  # test data


def pack_raw(*entries: RawEntry, prefix: bytes = b"") -> bytes:
    """Return a ZIP written byte by byte."""
    body, directory = prefix, b""
    for entry in entries:
        offset = len(body) if entry.offset is None else entry.offset
        local_name = entry.name if entry.local_name is None else entry.local_name
        head = (entry.flags, entry.method, 0, 0, entry.crc32, len(entry.stored), entry.declared)
        body += struct.pack("<4s5H3I2H", b"PK\x03\x04", 20, *head, len(local_name), 0) + local_name + entry.stored
        lengths = (len(entry.name), 0, 0, 0, 0, entry.mode << 16, offset)
        directory += struct.pack("<4s6H3I5H2I", b"PK\x01\x02", 0x0314, 20, *head, *lengths) + entry.name
    count = len(entries)
    end = struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, count, count, len(directory), len(body), 0)
    return body + directory + end
