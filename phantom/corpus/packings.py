"""The good chest in every honest way of packing it, and as NIfTI."""

from __future__ import annotations

import gzip
import io
import struct
import zipfile
from functools import partial

import numpy as np

from phantom.corpus.case import Case, Sending, accepted, whole
from phantom.corpus.chest import Chest
from phantom.corpus.files import pack
from phantom.gantry import find_column_direction
from phantom.study import Study

_NIFTI_HEADER_BYTES = 348
_NIFTI_INT16 = 4
_SCANNER_ANATOMY = 1


class _OneWay(io.RawIOBase):
    """A stream that cannot go back, so that sizes can only follow the data."""

    def __init__(self) -> None:
        super().__init__()
        self.written = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, piece: bytes) -> int:  # type: ignore[override]  # as zipfile calls it
        self.written += piece
        return len(piece)


def stream_zip(chest: Chest, *, force_zip64: bool) -> bytes:
    """Return a ZIP as a packer that writes to a pipe makes it: sizes follow the data."""
    stream = _OneWay()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in chest.files.items():
            with archive.open(zipfile.ZipInfo(name), "w", force_zip64=force_zip64) as entry:
                entry.write(content)
    return bytes(stream.written)


def add_comment(chest: Chest) -> bytes:
    """Return a ZIP with a comment at its end."""
    buffer = io.BytesIO(pack(chest.files))
    with zipfile.ZipFile(buffer, "a") as archive:
        archive.comment = b"made by a packer " * 100
    return buffer.getvalue()


def permute(chest: Chest) -> bytes:
    """Return the files in another order, under other names, in folders inside folders."""
    order = np.random.default_rng(chest.seed).permutation(len(chest.names))
    contents = list(chest.files.values())
    return pack(
        {
            f"{place % 3}/{place % 5}/{'deep/' * (place % 7)}{place:x}": contents[index]
            for place, index in enumerate(order)
        }
    )


def write_nifti(study: Study) -> bytes:
    """Return the study as NIfTI-1 (RAS, HU as they are)."""
    slices, rows, columns = study.hu.shape
    step_z, step_y, step_x = study.spacing_zyx_mm
    x, y, z = study.origin_lps_mm
    header = bytearray(_NIFTI_HEADER_BYTES + 4)
    struct.pack_into("<i", header, 0, _NIFTI_HEADER_BYTES)
    struct.pack_into("<8h", header, 40, 3, columns, rows, slices, 1, 1, 1, 1)
    struct.pack_into("<2h", header, 70, _NIFTI_INT16, 16)
    struct.pack_into("<8f", header, 76, 1, step_x, step_y, step_z, 0, 0, 0, 0)
    struct.pack_into("<3f", header, 108, len(header), 1, 0)
    header[123] = 2  # millimetres
    struct.pack_into("<2h", header, 252, 0, _SCANNER_ANATOMY)
    _, back, head = find_column_direction(study.gantry_tilt_degrees)
    rows_of_affine = ((-step_x, 0, 0, -x), (0, -step_y * back, 0, -y), (0, step_y * head, step_z, z))
    struct.pack_into("<12f", header, 280, *(value for row in rows_of_affine for value in row))
    header[344:348] = b"n+1\0"
    return bytes(header) + study.hu.astype("<i2").tobytes()


CASES: tuple[Case, ...] = (
    Case("G-plain", "The chest as it is", lambda chest: pack(chest.files), accepted(study=whole)),
    Case(
        "G-raw-body",
        "The ZIP itself as the body",
        lambda chest: pack(chest.files),
        accepted(study=whole),
        Sending(is_raw=True),
    ),
    Case(
        "G-deflated",
        "A ZIP that is deflated",
        lambda chest: pack(chest.files, method=zipfile.ZIP_DEFLATED),
        accepted(study=whole),
    ),
    Case("G-descriptors", "Sizes that follow the data", partial(stream_zip, force_zip64=False), accepted(study=whole)),
    Case("G-zip64", "ZIP64 where it is not needed", partial(stream_zip, force_zip64=True), accepted(study=whole)),
    Case("G-comment", "A comment at the end of the ZIP", add_comment, accepted(study=whole)),
    Case("G-permuted", "Other names, folders and order", permute, accepted(study=whole)),
    Case(
        "G-nifti",
        "NIfTI",
        lambda chest: write_nifti(chest.study),
        accepted(study=whole),
        Sending(file_name="study.nii"),
        suffix=".nii",
    ),
    Case(
        "G-nifti-gz",
        "NIfTI, compressed",
        lambda chest: gzip.compress(write_nifti(chest.study), 1, mtime=0),
        accepted(study=whole),
        Sending(file_name="study.nii.gz"),
        suffix=".nii.gz",
    ),
)
