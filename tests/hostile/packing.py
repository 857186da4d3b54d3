"""Archives and files of the corpus, read in this process as the child does."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from phantom.corpus.files import Files, edit, encode, pack, unpack
from phantom.corpus.raw_zip import RawEntry, deflate, honest, pack_raw
from workers.intake.limits import IntakeLimits
from workers.intake.question import Question
from workers.intake.study import StudyRead, read_study

__all__ = [
    "Files",
    "MemorySource",
    "RawEntry",
    "deflate",
    "edit",
    "encode",
    "get_code",
    "honest",
    "pack",
    "pack_raw",
    "read",
    "unpack",
]


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
