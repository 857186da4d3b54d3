"""A DICOM file whose dataset is deflated as it is written (PS3.5 A.5), so that it is never whole in memory."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Self

from isal import isal_zlib
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset, write_file_meta_info
from pydicom.uid import DeflatedExplicitVRLittleEndian

_PREAMBLE = bytes(128) + b"DICM"
_RAW_DEFLATE = -15
_LEVEL = 1  # masks are almost all 0: higher levels take longer for a few per cent


class DeflatedFile:
    """Writes a file from its parts, in the order of the tags. A context manager: the file is complete when it ends."""

    def __init__(self, path: Path, meta: FileMetaDataset) -> None:
        meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
        self._file = path.open("wb")
        self._file.write(_PREAMBLE)
        head = DicomBytesIO()
        write_file_meta_info(head, meta)
        self._file.write(head.getvalue())
        self._deflate = isal_zlib.compressobj(level=_LEVEL, wbits=_RAW_DEFLATE)
        self._length = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._put(self._deflate.flush())
        if self._length % 2:
            self._file.write(b"\0")
        self._file.close()

    def write(self, part: bytes) -> None:
        """Add encoded elements, or a part of one."""
        self._put(self._deflate.compress(part))

    def _put(self, deflated: bytes) -> None:
        self._length += len(deflated)
        self._file.write(deflated)


def encode(dataset: Dataset) -> bytes:
    """Return a dataset as explicit little endian bytes, which is what is deflated."""
    buffer = DicomBytesIO()
    buffer.is_little_endian, buffer.is_implicit_VR = True, False
    write_dataset(buffer, dataset)
    return bytes(buffer.getvalue())
