"""Files of a study by name: packed, unpacked, and changed one DICOM attribute at a time."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

from pydicom import DataElement, Dataset, dcmread
from pydicom.uid import UID

Change = Callable[[Dataset], object]

_TIME = (2020, 1, 1, 0, 0, 0)


class Files(dict[str, bytes]):
    """Files by name; shown by their number, for they are large."""

    def __repr__(self) -> str:
        return f"<{len(self)} files>"


def unpack(archive: Path) -> Files:
    """Return the files of a good ZIP."""
    with zipfile.ZipFile(archive) as opened:
        return Files({name: opened.read(name) for name in opened.namelist()})


def pack(files: Mapping[str, bytes], *, method: int = zipfile.ZIP_STORED) -> bytes:
    """Return an ordinary ZIP."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name, _TIME), content, method)
    return buffer.getvalue()


def decode(content: bytes) -> Dataset:
    """Return a file as a dataset."""
    return dcmread(io.BytesIO(content))


def encode(dataset: Dataset) -> bytes:
    """Return a dataset as a file."""
    buffer = io.BytesIO()
    dataset.save_as(buffer)
    return buffer.getvalue()


def change_file(content: bytes, *changes: Change) -> bytes:
    """Return a file with changes applied to its dataset."""
    dataset = decode(content)
    for change in changes:
        change(dataset)
    return encode(dataset)


def edit(files: Mapping[str, bytes], change: Change, *, every: int = 1, first: int = 0) -> Files:
    """Return the files with `change` applied to the dataset of every n-th one."""
    edited = Files(files)
    for name in sorted(files)[first::every]:
        edited[name] = change_file(files[name], change)
    return edited


def put(keyword: str, value: object) -> Change:
    """Return the change that sets an attribute."""
    return lambda dataset: setattr(dataset, keyword, value)


def delete(keyword: str) -> Change:
    """Return the change that removes an attribute."""
    return lambda dataset: delattr(dataset, keyword)


def put_text(keyword: str, text: str) -> Change:
    """Return the change that sets a decimal string to text that pydicom itself would not write."""

    def change(dataset: Dataset) -> None:
        dataset[keyword] = DataElement(dataset[keyword].tag, "LO", text, already_converted=True)

    return change


def set_instance_uid(dataset: Dataset, uid: str) -> None:
    """Make a dataset another instance."""
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = UID(uid)


def split_before_pixels(content: bytes) -> tuple[bytes, bytes]:
    """Part a file in explicit little endian before its pixel data."""
    at = content.index(b"\xe0\x7f\x10\x00OW")
    return content[:at], content[at:]
