"""What fuzzing starts from: the cases of the corpus, good and bad, as small as they can be made."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from functools import cached_property
from typing import Any

import imagecodecs
import nibabel
import numpy as np
from pydicom import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import UID, ExplicitVRBigEndian, ImplicitVRLittleEndian, RLELossless

from phantom.corpus.case import Case
from phantom.corpus.chest import MIB, SMALL, Chest
from phantom.corpus.files import change_file, decode, encode, pack
from phantom.corpus.packings import write_nifti
from phantom.corpus.registry import CASES
from phantom.corpus.series import make_multi_frame
from phantom.corpus.syntaxes import ENCODINGS, Encoding, compress, compress_rle, rewrite
from phantom.study import Study
from tests.fuzz.zip_mutations import unpack_leniently
from tests.workers.intake.encoding import encode_rle

_SEED = 7
_LARGEST_ARCHIVE = 64 * 1024
_LARGEST_FILE = 32 * 1024
_LARGEST_STUDY = 2 * MIB
_FILES_OF_A_CASE = 2
_SLICES_OF_A_BATCH = 12
_TINY = replace(
    SMALL, archive_entries=50, many_entries=51, upload_bytes=MIB, archive_bytes=2 * MIB, huge_member_bytes=MIB // 4
)


class TinyChest(Chest):
    """The good study with so few voxels that reading them costs nothing: no lungs are found in it."""

    @cached_property
    def study(self) -> Study:
        """The study itself."""
        study = Chest(self.seed, self.scale).study
        z, y, x = study.spacing_zyx_mm
        return replace(study, hu=study.hu[::6, ::4, ::4].copy(), spacing_zyx_mm=(6 * z, 4 * y, 4 * x))


def make_tiny_chest() -> Chest:
    """Return the chest that the small inputs are made from."""
    return TinyChest(_SEED, _TINY)


def list_archives() -> list[bytes]:
    """Return the ZIPs of the corpus."""
    return [content for content in _make_all(make_tiny_chest(), ".zip") if len(content) <= _LARGEST_ARCHIVE]


def list_files() -> list[bytes]:
    """Return the DICOM files of the corpus: of each case those that no case before it had."""
    chest = make_tiny_chest()
    found: dict[bytes, None] = {}
    for archive in _make_all(chest, ".zip"):
        fresh = [
            file for file in unpack_leniently(archive).values() if file not in found and len(file) <= _LARGEST_FILE
        ]
        found.update(dict.fromkeys(fresh[:_FILES_OF_A_CASE]))
    return [*found, *_list_multi_frames(chest)]


def list_studies() -> list[bytes]:
    """Return whole studies, ZIP and NIfTI, of a size in which lungs are found."""
    chest = Chest(_SEED, SMALL)
    return [content for content in _make_all(chest, "") if 0 < len(content) <= _LARGEST_STUDY]


def list_batches() -> list[bytes]:
    """Return ZIPs of a few slices, one for each way of writing pixels; and multi-frame files."""
    chest = Chest(_SEED, SMALL)
    files = chest.take(chest.middle, chest.middle + _SLICES_OF_A_BATCH)
    batches = [
        pack({name: change_file(content, write) for name, content in files.items()}) for write in _list_writers()
    ]
    batches += [
        pack({name: rewrite(content, syntax) for name, content in files.items()})
        for syntax in (ExplicitVRBigEndian, ImplicitVRLittleEndian)
    ]
    return [*batches, *(pack({"enhanced.dcm": content}) for content in _list_multi_frames(TinyChest(_SEED, SMALL)))]


def list_nifti() -> list[bytes]:
    """Return NIfTI files, versions 1 and 2, of several kinds of values."""
    chest = make_tiny_chest()
    volumes = [write_nifti(chest.study), *_make_all(chest, ".nii"), *_make_all(chest, ".nii.gz")]
    values = chest.study.hu[:4].astype(np.int16)
    affine = np.diag([2.0, 2.0, 6.0, 1.0])
    versions: tuple[Any, ...] = (nibabel.Nifti1Image, nibabel.Nifti2Image)
    images = [
        version(values.astype(kind), affine, dtype=kind)
        for version in versions
        for kind in (np.uint8, np.int16, np.float32, np.float64)
    ]
    return [*volumes, *(bytes(image.to_bytes()) for image in images)]


def _make_all(chest: Chest, suffix: str) -> Iterator[bytes]:
    """Yield the cases whose file ends so; the few that need more slices than there are are left out."""
    for case in CASES.values():
        if case.suffix == suffix or not suffix:
            with suppress(IndexError, ValueError):
                yield _make(case, chest)


def _make(case: Case, chest: Chest) -> bytes:
    content = case.make(chest)
    return content if isinstance(content, bytes) else b"".join(content)


def _list_writers() -> list[Callable[[Dataset], object]]:
    def keep(dataset: Dataset) -> None:
        """Leave the pixels as they are."""

    return [keep, compress_rle, *(lambda dataset, how=how: compress(dataset, how) for how in ENCODINGS.values())]


def _list_multi_frames(chest: Chest) -> Iterator[bytes]:
    """Yield the study as one file: native, and compressed with and without an offset table."""
    native = make_multi_frame(chest)
    yield native
    for encoding in (None, ENCODINGS["jpeg-ls"], ENCODINGS["jpeg-lossless"], ENCODINGS["htj2k"]):
        for has_table in (True, False):
            yield _compress_frames(decode(native), encoding, has_table=has_table)


def _compress_frames(enhanced: Dataset, encoding: Encoding | None, *, has_table: bool) -> bytes:
    """Return a multi-frame file compressed by a codec, or by run lengths without one. Only the bit patterns count."""
    slices = enhanced.pixel_array.view(np.uint16)
    if encoding is None:
        frames = [encode_rle(values) for values in slices]
    else:
        encode_frame = getattr(imagecodecs, encoding.function)
        frames = [bytes(encode_frame(np.ascontiguousarray(values), **encoding.arguments)) for values in slices]
    enhanced.file_meta.TransferSyntaxUID = RLELossless if encoding is None else UID(encoding.uid)
    enhanced.PixelData = encapsulate(frames, has_bot=has_table)
    enhanced["PixelData"].VR = "OB"
    enhanced["PixelData"].is_undefined_length = True
    return encode(enhanced)
