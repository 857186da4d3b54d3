"""The seam to pydicom: whatever it raises about a file is that file's fault."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import pydicom

from workers.intake.dicom.scanner import Encoding
from workers.intake.dicom.tags import Tag
from workers.intake.files import FileCode, FileRejected


@contextmanager
def tolerant_pydicom(detail: str, code: FileCode) -> Iterator[None]:
    """Translate errors into FileRejected and silence warnings: what matters of a file is checked by ourselves.

    Only the error's type is told, because the text may quote the file. Running out of memory is not the file's fault
    alone, so that error passes.
    """
    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    except (FileRejected, MemoryError):
        raise
    except Exception as error:  # noqa: BLE001  # pydicom raises whatever it likes
        raise FileRejected(code, f"{detail} ({type(error).__name__})") from None


def read_dataset(elements: bytes, encoding: Encoding) -> pydicom.Dataset:
    """Return the dataset that these elements are, up to its pixels. Raises whatever pydicom likes."""
    return pydicom.filereader.read_dataset(
        io.BytesIO(elements),
        is_implicit_VR=not encoding.is_explicit,
        is_little_endian=encoding.is_little,
        stop_when=lambda tag, _representation, _length: tag == Tag.PixelData,
    )


def make_empty_dataset() -> pydicom.Dataset:
    """Return a dataset without elements."""
    return pydicom.Dataset()


def find_syntax_name(uid: str) -> str | None:
    """Return how the standard calls a transfer syntax, or None for any other UID."""
    known = pydicom.uid.UID(uid, validation_mode=pydicom.config.IGNORE)
    return known.name if known.is_transfer_syntax else None
