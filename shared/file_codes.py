"""What may become of a file of an upload, and why: the vocabulary and its catalogue."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class FileOutcome(StrEnum):
    """Whether a file took part in the volume."""

    USED = "used"
    IGNORED = "ignored"
    REJECTED = "rejected"


class FileCode(StrEnum):
    """Why a file did not take part in the volume. The meaning of each stands in `FILE_CODES`."""

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
    OTHER_STUDY = "other_study"
    NESTED_ARCHIVE = "nested_archive"

    # Rejected: would have been read, were it sound
    ARCHIVE_REFUSED = "archive_refused"
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
class FileKind:
    """What a code of a file means, and what to do about it."""

    outcome: FileOutcome
    meaning: str
    advice: str


_NOTHING = "Nothing: such files may stay in the archive."


def _ignored(meaning: str, advice: str = _NOTHING) -> FileKind:
    return FileKind(FileOutcome.IGNORED, meaning, advice)


def _rejected(meaning: str, advice: str) -> FileKind:
    return FileKind(FileOutcome.REJECTED, meaning, advice)


FILE_CODES: Mapping[FileCode, FileKind] = {
    FileCode.NOT_DICOM: _ignored("No DICOM file by its first bytes: a text, a PDF, a picture, a viewer program."),
    FileCode.JUNK: _ignored("Left behind by a file manager: `__MACOSX/`, `.DS_Store`, `Thumbs.db`."),
    FileCode.DICOMDIR: _ignored("A DICOMDIR (PS3.10) lists files; the files themselves are read."),
    FileCode.NOT_AN_IMAGE: _ignored("A DICOM object without PixelData (7FE0,0010): a report, a dose record, a plan."),
    FileCode.WRONG_MODALITY: _ignored("Modality (0008,0060) is not CT."),
    FileCode.LOCALIZER: _ignored("A localiser (scout, topogram): ImageType (0008,0008) says LOCALIZER."),
    FileCode.SECONDARY_CAPTURE: _ignored(
        "A secondary capture or a colour image, by SOPClassUID or PhotometricInterpretation."
    ),
    FileCode.QUALITY_CONTROL: _ignored("An image of a phantom: QualityControlImage (0028,0300) says YES."),
    FileCode.DUPLICATE: _ignored(
        "A copy: another file holds the same SOPInstanceUID (0008,0018) with the same pixels."
    ),
    FileCode.NOT_CHOSEN: _ignored(
        "A sound slice of a stack that was not chosen for the volume.",
        "Intake lists all candidates with reasons; `series_instance_uid` forces another series.",
    ),
    FileCode.OTHER_STUDY: _ignored(
        "A slice of another study than the one that this job reads.",
        "Nothing to do: with `split=true` each study of the archive has a job of its own.",
    ),
    FileCode.NESTED_ARCHIVE: _ignored(
        "A ZIP inside the archive; it was opened, and its files are listed as well.",
        "Nothing to do.",
    ),
    FileCode.ARCHIVE_REFUSED: _rejected(
        "The file for which the whole archive was refused; the files after it were not looked at.",
        "The problem of the job says what is wrong with it.",
    ),
    FileCode.CRC_MISMATCH: _rejected(
        "The content differs from the checksum in the archive: it was damaged after packing.",
        "Pack the study again from the PACS; check the ZIP with `unzip -t`.",
    ),
    FileCode.ENTRY_DAMAGED: _rejected(
        "The compressed bytes cannot be unpacked, or fewer came out than declared.",
        "Pack the study again from the PACS; check the ZIP with `unzip -t`.",
    ),
    FileCode.HOSTILE_STRUCTURE: _rejected(
        "The dataset breaks PS3.5 as honest files do not: lengths beyond the file, sequences nested without end, too "
        "many elements.",
        "Export the file again. If the PACS holds it so, tell its vendor.",
    ),
    FileCode.DIMENSIONS_EXCEED_LIMIT: _rejected(
        "Rows, Columns or NumberOfFrames are zero or far beyond any scanner.", "Export the file again."
    ),
    FileCode.MISSING_REQUIRED_TAGS: _rejected(
        "Attributes are missing that a slice cannot be placed or scaled without; the detail names them.",
        "Export again without removing them; check the anonymiser.",
    ),
    FileCode.INVALID_GEOMETRY: _rejected(
        "PixelSpacing, ImageOrientationPatient or ImagePositionPatient hold impossible values.",
        "Export the file again.",
    ),
    FileCode.INVALID_RESCALE: _rejected(
        "RescaleSlope is zero, or RescaleSlope or RescaleIntercept is no plausible number.", "Export the file again."
    ),
    FileCode.TRANSFER_SYNTAX_UNSUPPORTED: _rejected(
        "TransferSyntaxUID (0002,0010) names a compression that is not read here.", "Export uncompressed or as JPEG-LS."
    ),
    FileCode.PIXELS_UNSUPPORTED: _rejected(
        "BitsAllocated, BitsStored or HighBit are not those of a CT slice (8 or 16 bits, one sample).",
        "Export the original images, not derived ones.",
    ),
    FileCode.PIXELS_TRUNCATED: _rejected(
        "PixelData (7FE0,0010) is shorter than Rows, Columns and BitsAllocated ask for.",
        "Send the file again: it was cut on its way into the PACS or out of it.",
    ),
    FileCode.UNDECODABLE: _rejected(
        "The compressed pixels cannot be decoded.", "Export the file again, uncompressed if it stays so."
    ),
}
