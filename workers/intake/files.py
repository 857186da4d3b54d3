"""What became of each file of an upload."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

from shared.errors import CtclipError


class FileOutcome(StrEnum):
    """Whether a file took part in the volume."""

    USED = "used"
    IGNORED = "ignored"
    REJECTED = "rejected"


class FileCode(StrEnum):
    """Why a file did not take part in the volume."""

    # Ignored: sound, but not what is read
    NOT_DICOM = "not_dicom"
    JUNK = "junk"
    DICOMDIR = "dicomdir"
    NOT_AN_IMAGE = "not_an_image"
    WRONG_MODALITY = "wrong_modality"
    LOCALIZER = "localizer"
    SECONDARY_CAPTURE = "secondary_capture"
    QUALITY_CONTROL = "quality_control"
    DUPLICATE = "duplicate"
    NOT_CHOSEN = "not_chosen"

    # Rejected: would have been read, were it sound
    CRC_MISMATCH = "crc_mismatch"
    ENTRY_DAMAGED = "entry_damaged"
    HOSTILE_STRUCTURE = "hostile_structure"
    DIMENSIONS_EXCEED_LIMIT = "dimensions_exceed_limit"
    MISSING_REQUIRED_TAGS = "missing_required_tags"
    INVALID_GEOMETRY = "invalid_geometry"
    INVALID_RESCALE = "invalid_rescale"
    TRANSFER_SYNTAX_UNSUPPORTED = "transfer_syntax_unsupported"
    PIXELS_UNSUPPORTED = "pixels_unsupported"
    PIXELS_TRUNCATED = "pixels_truncated"
    UNDECODABLE = "undecodable"


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
