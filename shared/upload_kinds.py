"""What an upload is, judged by its first bytes and by nothing else. Pure."""

from __future__ import annotations

import struct
import zlib
from enum import StrEnum

from shared.artefacts import UploadKind

HEAD_BYTES = 17 * 2048
"""How much of an upload is enough to judge it: an ISO 9660 image says what it is in its seventeenth sector."""

_ZIP_SIGNATURES = (b"PK\x03\x04", b"PK\x05\x06")  # a first entry; an archive without entries
_GZIP_SIGNATURE = b"\x1f\x8b\x08"
_NIFTI_HEADERS = {348: (344, b"n+1\0"), 540: (4, b"n+2\0\r\n\x1a\n")}
_NIFTI_NEEDED_BYTES = 348
_TAR_NEEDED_BYTES = 512


class ForeignKind(StrEnum):
    """What an upload may be that is not read here."""

    RAR = "rar"
    SEVEN_ZIP = "7z"
    GZIP = "gzip"
    TAR = "tar"
    TAR_GZIP = "tar.gz"
    BZIP2 = "bzip2"
    XZ = "xz"
    ZSTANDARD = "zstd"
    ISO = "iso"
    ZIP_VOLUME = "zip_volume"
    DICOM = "dicom"
    NIFTI_PAIR = "nifti_pair"
    JPEG = "jpeg"
    PNG = "png"
    PDF = "pdf"
    PROGRAM = "program"


_DICOM_PREAMBLE_BYTES = 128
_FOREIGN_MARKS: tuple[tuple[int, bytes, ForeignKind], ...] = (
    (0, b"Rar!\x1a\x07", ForeignKind.RAR),
    (0, b"7z\xbc\xaf\x27\x1c", ForeignKind.SEVEN_ZIP),
    (0, b"BZh", ForeignKind.BZIP2),
    (0, b"\xfd7zXZ\0", ForeignKind.XZ),
    (0, b"\x28\xb5\x2f\xfd", ForeignKind.ZSTANDARD),
    (0, b"PK\x07\x08", ForeignKind.ZIP_VOLUME),
    (0, b"PK00PK\x03\x04", ForeignKind.ZIP_VOLUME),
    (_DICOM_PREAMBLE_BYTES, b"DICM", ForeignKind.DICOM),
    (0, b"\x08\x00\x05\x00", ForeignKind.DICOM),  # without preamble: SpecificCharacterSet
    (0, b"\x08\x00\x08\x00", ForeignKind.DICOM),  # without preamble: ImageType
    (344, b"ni1\0", ForeignKind.NIFTI_PAIR),
    (257, b"ustar", ForeignKind.TAR),
    (0x8001, b"CD001", ForeignKind.ISO),
    (0, b"\xff\xd8\xff", ForeignKind.JPEG),
    (0, b"\x89PNG\r\n\x1a\n", ForeignKind.PNG),
    (0, b"%PDF-", ForeignKind.PDF),
    (0, b"MZ", ForeignKind.PROGRAM),
    (0, b"\x7fELF", ForeignKind.PROGRAM),
)
_NAMES = {
    ForeignKind.SEVEN_ZIP: "a 7z archive",
    ForeignKind.RAR: "a RAR archive",
    ForeignKind.GZIP: "a gzip of something that is no NIfTI",
    ForeignKind.TAR: "a tar archive",
    ForeignKind.TAR_GZIP: "a gzipped tar archive",
    ForeignKind.BZIP2: "a bzip2 file",
    ForeignKind.XZ: "an xz file",
    ForeignKind.ZSTANDARD: "a Zstandard file",
    ForeignKind.ISO: "an ISO 9660 image of a disc",
    ForeignKind.ZIP_VOLUME: "one volume of a ZIP that was split",
    ForeignKind.DICOM: "a single DICOM file",
    ForeignKind.NIFTI_PAIR: "the header of a NIfTI pair",
    ForeignKind.JPEG: "a JPEG picture",
    ForeignKind.PNG: "a PNG picture",
    ForeignKind.PDF: "a PDF document",
    ForeignKind.PROGRAM: "a program, or an archive that unpacks itself",
}
_UNPACK = "Unpack it and pack the DICOM files of one study into a ZIP"
_ADVICE = {
    ForeignKind.ISO: "Pack the DICOM files of the disc into a ZIP",
    ForeignKind.ZIP_VOLUME: "Join the volumes into one ZIP (`zip -s 0 first.zip --out whole.zip`)",
    ForeignKind.DICOM: "Pack it with all other files of its study into a ZIP",
    ForeignKind.NIFTI_PAIR: "Send header and volume as one `.nii` file",
    ForeignKind.JPEG: "Send the DICOM files that it was made from",
    ForeignKind.PNG: "Send the DICOM files that it was made from",
    ForeignKind.PDF: "Send the DICOM files of the study",
}


def judge_kind(head: bytes) -> UploadKind | None:
    """Return the kind of the upload that begins with `head` (at most `HEAD_BYTES` of it are looked at)."""
    head = head[:HEAD_BYTES]
    if head.startswith(_ZIP_SIGNATURES):
        return UploadKind.ZIP
    start = _inflate_start(head) if head.startswith(_GZIP_SIGNATURE) else head
    return UploadKind.NIFTI if _is_nifti(start) else None


def is_head_enough(head: bytes) -> bool:
    """Say whether more bytes could still change the judgement."""
    return len(head) >= HEAD_BYTES or judge_kind(head) is not None


def judge_foreign_kind(head: bytes) -> ForeignKind | None:
    """Return what an upload that `judge_kind` does not know is, or None when that is not known either."""
    if head.startswith(_GZIP_SIGNATURE):
        return ForeignKind.TAR_GZIP if _inflate_start(head)[257:262] == b"ustar" else ForeignKind.GZIP
    kinds = (kind for offset, mark, kind in _FOREIGN_MARKS if head[offset : offset + len(mark)] == mark)
    return next(kinds, None)


def explain_foreign(head: bytes, kind: ForeignKind | None) -> str:
    """Return what was found instead of a ZIP or a NIfTI, and what to do with it."""
    if kind is None:
        return f"The first bytes are {head[:4].hex(' ')}; a ZIP (50 4b 03 04) or a NIfTI was expected."
    return f"It is {_NAMES[kind]}; a ZIP or a NIfTI was expected. {_ADVICE.get(kind, _UNPACK)}."


def get_media_type(kind: UploadKind, head: bytes) -> str:
    """Return the media type of an upload."""
    if kind is UploadKind.ZIP:
        return "application/zip"
    return "application/gzip" if head.startswith(_GZIP_SIGNATURE) else "application/octet-stream"


def _inflate_start(head: bytes) -> bytes:
    try:
        return zlib.decompressobj(wbits=zlib.MAX_WBITS | 16).decompress(head, _TAR_NEEDED_BYTES)
    except zlib.error:
        return b""


def _is_nifti(start: bytes) -> bool:
    """Say whether a single-file NIfTI-1 or NIfTI-2 begins here, in either byte order."""
    if len(start) < _NIFTI_NEEDED_BYTES:
        return False
    for order in "<>":
        offset, magic = _NIFTI_HEADERS.get(struct.unpack_from(f"{order}i", start)[0], (0, b"\0"))
        if start[offset : offset + len(magic)] == magic and offset:
            return True
    return False
