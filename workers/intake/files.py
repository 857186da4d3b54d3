"""What became of each file of an upload."""

from __future__ import annotations

from dataclasses import dataclass, replace

from shared.errors import CtclipError
from shared.file_codes import FileCode, FileOutcome

__all__ = ["FileCode", "FileIgnored", "FileOutcome", "FileRejected", "FileReport"]


@dataclass(frozen=True)
class FileReport:
    """One file: its escaped name, its expanded size and what became of it."""

    ordinal: int
    name: str
    size_bytes: int
    outcome: FileOutcome
    code: FileCode | None = None
    detail: str | None = None

    def set_aside(self, outcome: FileOutcome, code: FileCode, detail: str | None = None) -> FileReport:
        """Return the same file with another outcome."""
        return replace(self, outcome=outcome, code=code, detail=detail)


class FileRejected(CtclipError):
    """One file cannot be used; the study may do without it. `detail` never quotes the file."""

    def __init__(self, code: FileCode, detail: str, *, tags: tuple[str, ...] = ()) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.tags = tags


class FileIgnored(CtclipError):
    """One file is sound but not what is read here."""

    def __init__(self, code: FileCode, detail: str) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail
