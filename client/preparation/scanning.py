"""What the files of a folder are, by their headers alone; no file is read whole here."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import pydicom
from pydicom.errors import InvalidDicomError

CT_CLASSES = frozenset(
    {
        "1.2.840.10008.5.1.4.1.1.2",  # CT Image Storage
        "1.2.840.10008.5.1.4.1.1.2.1",  # Enhanced CT
        "1.2.840.10008.5.1.4.1.1.2.2",  # Legacy Converted Enhanced CT
    }
)
"""SOP classes that are packed: a report or a screenshot beside a CT is of no use to the platform."""

_TAGS = ["SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "BurnedInAnnotation"]


class LeftOut(StrEnum):
    """Why a file is not packed."""

    NOT_DICOM = "not_dicom"
    NOT_CT = "not_ct"
    NO_UIDS = "no_uids"
    UNREADABLE = "unreadable"
    BURNED_IN = "burned_in_annotation"
    DUPLICATE = "duplicate"


@dataclass(frozen=True, order=True)
class Image:
    """A CT image file; the order of images is that of their UIDs, whatever the files are called."""

    study_uid: str
    series_uid: str
    sop_uid: str
    path: Path
    size_bytes: int
    has_burned_in_text: bool


def iterate_files(folder: Path, *, without: Path) -> Iterator[Path]:
    """Yield the files of a folder tree, but none of the folder that is written to. Links to folders are passed over."""
    for parent, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if Path(parent, name).resolve() != without)
        yield from (Path(parent, name) for name in sorted(files))


def look_at(path: Path) -> Image | LeftOut:
    """Return what a file is, from its header up to the pixels."""
    try:
        header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=_TAGS)
    except InvalidDicomError:
        return LeftOut.NOT_DICOM
    except Exception:  # noqa: BLE001  # pydicom raises what it likes over a broken header; the file is counted
        return LeftOut.UNREADABLE
    if str(header.get("SOPClassUID", "")) not in CT_CLASSES:
        return LeftOut.NOT_CT
    uids = [str(header.get(name, "")) for name in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")]
    if not all(uids):
        return LeftOut.NO_UIDS
    has_text = str(header.get("BurnedInAnnotation") or "NO").upper() != "NO"  # what is no plain NO may be a YES
    return Image(uids[0], uids[1], uids[2], path, path.stat().st_size, has_text)
