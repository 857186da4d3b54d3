"""The same chest in every transfer syntax and every way of storing a value: row B37 and its good relatives.

Lossless forms must give the very same volume. Encoders of JPEG, JPEG-LS and JPEG 2000 come with `imagecodecs`; without
it those cases are left out.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from importlib.util import find_spec
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom import Dataset, dcmwrite
from pydicom.encaps import encapsulate
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    RLELossless,
)

from phantom.corpus.case import Case, Expected, accepted, rejected, whole
from phantom.corpus.chest import Chest, encode_files
from phantom.corpus.files import decode, edit, pack, put
from phantom.study import make_study

Stored = npt.NDArray[np.uint8] | npt.NDArray[np.uint16] | npt.NDArray[np.int16]

HAS_ENCODERS = find_spec("imagecodecs") is not None
_EXPLICIT, _OF_SAME_LENGTH = b"1.2.840.10008.1.2.1\x00", b"1.2.840.10008.1.9.9\x00"
_LOWEST_HU = -2048


@dataclass(frozen=True)
class Encoding:
    """A compressed transfer syntax: the function of imagecodecs, its arguments, and how values are stored for it."""

    title: str
    uid: str
    function: str
    arguments: Mapping[str, Any]
    bits: int = 16
    is_lossy: bool = False


_JPEG = "1.2.840.10008.1.2.4."
ENCODINGS: Mapping[str, Encoding] = {
    "jpeg-baseline": Encoding("JPEG baseline, 8 bits", f"{_JPEG}50", "jpeg8_encode", {"level": 95}, 8, True),
    "jpeg-extended": Encoding(
        "JPEG extended, 12 bits", f"{_JPEG}51", "jpeg8_encode", {"level": 98, "bitspersample": 12}, 12, True
    ),
    "jpeg-lossless": Encoding(
        "JPEG lossless", f"{_JPEG}57", "jpeg8_encode", {"lossless": True, "predictor": 4, "bitspersample": 16}
    ),
    "jpeg-lossless-sv1": Encoding(
        "JPEG lossless, first order",
        f"{_JPEG}70",
        "jpeg8_encode",
        {"lossless": True, "predictor": 1, "bitspersample": 16},
    ),
    "jpeg-ls": Encoding("JPEG-LS", f"{_JPEG}80", "jpegls_encode", {}),
    "jpeg-ls-near": Encoding("JPEG-LS, near-lossless", f"{_JPEG}81", "jpegls_encode", {"level": 2}, is_lossy=True),
    "jpeg-2000": Encoding(
        "JPEG 2000 lossless", f"{_JPEG}90", "jpeg2k_encode", {"level": 0, "reversible": True, "codecformat": "j2k"}
    ),
    "jpeg-2000-lossy": Encoding(
        "JPEG 2000 lossy", f"{_JPEG}91", "jpeg2k_encode", {"level": 70, "codecformat": "j2k"}, is_lossy=True
    ),
    "htj2k": Encoding("HTJ2K lossless", f"{_JPEG}201", "htj2k_encode", {"reversible": True}),
}


def set_stored(dataset: Dataset, stored: Stored, *, intercept: float, slope: float = 1.0, bits: int = 16) -> None:
    """Give a slice other stored values, native, with the rescale that leads back to HU."""
    allocated = 8 * stored.dtype.itemsize
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = allocated, bits, bits - 1
    dataset.PixelRepresentation = int(np.issubdtype(stored.dtype, np.signedinteger))
    dataset.RescaleIntercept, dataset.RescaleSlope = f"{intercept:g}", f"{slope:g}"
    dataset.PixelData = stored.astype(stored.dtype.newbyteorder("<")).tobytes()


def read_hu(dataset: Dataset) -> npt.NDArray[np.int16]:
    """Return the HU of a slice of the good study."""
    return (dataset.pixel_array + int(dataset.RescaleIntercept)).astype(np.int16)


def compress(dataset: Dataset, encoding: Encoding) -> None:
    """Compress a slice by imagecodecs."""
    import imagecodecs  # noqa: PLC0415  # optional: the corpus leaves these cases out without it

    hu = read_hu(dataset)
    stored: Stored
    if encoding.bits == 8:
        stored, slope, intercept = ((hu.clip(-1024, 1015) + 1024) // 8).astype(np.uint8), 8, -1024
    else:
        stored, slope, intercept = (hu.clip(_LOWEST_HU, 2047) - _LOWEST_HU).astype(np.uint16), 1, _LOWEST_HU
    set_stored(dataset, stored, intercept=intercept, slope=slope, bits=encoding.bits)
    frame = getattr(imagecodecs, encoding.function)(np.ascontiguousarray(stored), **encoding.arguments)
    _set_frame(dataset, bytes(frame), encoding)


def _set_frame(dataset: Dataset, frame: bytes, encoding: Encoding) -> None:
    dataset.file_meta.TransferSyntaxUID = UID(encoding.uid)
    dataset.PixelData = encapsulate([frame])
    dataset["PixelData"].VR = "OB"
    dataset["PixelData"].is_undefined_length = True
    if encoding.is_lossy:
        dataset.LossyImageCompression = "01"
        dataset.LossyImageCompressionRatio = "10"


def compress_rle(dataset: Dataset) -> None:
    """Compress a slice by run lengths, which needs nothing but pydicom."""
    dataset.compress(RLELossless, generate_instance_uid=False)


def rewrite(content: bytes, syntax: UID) -> bytes:
    """Return a file in another native transfer syntax."""
    dataset = decode(content)
    pixels = dataset.pixel_array
    fresh = Dataset()
    fresh.file_meta = dataset.file_meta
    for element in dataset:
        fresh.add(element)
    fresh.file_meta.TransferSyntaxUID = syntax
    fresh.PixelData = pixels.astype("<i2" if syntax.is_little_endian else ">i2").tobytes()
    buffer = io.BytesIO()
    dcmwrite(buffer, fresh, enforce_file_format=True)
    return buffer.getvalue()


def _rewrite_all(chest: Chest, syntax: UID) -> bytes:
    return pack({name: rewrite(content, syntax) for name, content in chest.files.items()})


def _change_all(chest: Chest, change: Callable[[Dataset], object]) -> bytes:
    return pack(edit(chest.files, change))


def strip_meta(content: bytes) -> bytes:
    """Return a dataset without preamble and meta group."""
    return content[content.index(b"\x08\x00\x05\x00CS") :]


def _store_unsigned(dataset: Dataset) -> None:
    set_stored(dataset, (read_hu(dataset) - _LOWEST_HU).astype(np.uint16), intercept=_LOWEST_HU)


def _store_signed_twelve(dataset: Dataset) -> None:
    stored = (read_hu(dataset).clip(-2048, 2047).astype(np.uint16) & 0x0FFF).view(np.int16)
    set_stored(dataset, stored, intercept=0, bits=12)


def _store_under_overlay(dataset: Dataset) -> None:
    stored = (read_hu(dataset).clip(_LOWEST_HU, 2047) - _LOWEST_HU).astype(np.uint16)
    stored[::3, ::2] |= 0xF000
    set_stored(dataset, stored, intercept=_LOWEST_HU, bits=12)


def _store_by_half_units(dataset: Dataset) -> None:
    set_stored(dataset, (read_hu(dataset).astype(np.int16) * 2), intercept=0, slope=0.5)


def _make_padded(chest: Chest) -> bytes:
    study = make_study(chest.seed, (), replace(chest.scale.settings, has_padding=True))
    return pack(encode_files(study))


def _forge_syntax(chest: Chest) -> bytes:
    forged = {name: content.replace(_EXPLICIT, _OF_SAME_LENGTH, 1) for name, content in chest.files.items()}
    return pack(forged)


def _expect(encoding: Encoding) -> Expected:
    return accepted("lossy_compression") if encoding.is_lossy else accepted(study=whole)


def list_encoded() -> list[Case]:
    """List the compressed forms, where there are encoders for them."""
    return [
        Case(
            f"B37-{name}",
            encoding.title,
            partial(_change_all, change=partial(compress, encoding=encoding)),
            _expect(encoding),
        )
        for name, encoding in ENCODINGS.items()
    ]


_STORED_FORMS: Mapping[str, tuple[str, Callable[[Dataset], object]]] = {
    "unsigned": ("Unsigned values", _store_unsigned),
    "signed-12-bits": ("Signed values of 12 bits", _store_signed_twelve),
    "overlay-bits": ("An overlay in the bits above the values", _store_under_overlay),
    "half-units": ("A RescaleSlope of 0.5", _store_by_half_units),
    "monochrome1": (
        "MONOCHROME1, which changes the display and no value",
        put("PhotometricInterpretation", "MONOCHROME1"),
    ),
}

CASES: tuple[Case, ...] = (
    Case(
        "B37-implicit",
        "Implicit little endian",
        partial(_rewrite_all, syntax=ImplicitVRLittleEndian),
        accepted(study=whole),
    ),
    Case(
        "B37-big-endian",
        "Explicit big endian",
        partial(_rewrite_all, syntax=ExplicitVRBigEndian),
        accepted(study=whole),
    ),
    Case(
        "B37-deflated", "Deflated", partial(_rewrite_all, syntax=DeflatedExplicitVRLittleEndian), accepted(study=whole)
    ),
    Case("B37-rle", "Run lengths", partial(_change_all, change=compress_rle), accepted(study=whole)),
    *(list_encoded() if HAS_ENCODERS else ()),
    Case("B37-unknown", "A transfer syntax that nobody knows", _forge_syntax, rejected("transfer_syntax_unsupported")),
    Case(
        "G-no-preamble",
        "Datasets without preamble and meta group",
        lambda chest: pack({name: strip_meta(content) for name, content in chest.files.items()}),
        accepted("no_preamble", study=whole),
    ),
    *(
        Case(f"G-{name}", title, partial(_change_all, change=change), accepted(study=whole))
        for name, (title, change) in _STORED_FORMS.items()
    ),
    Case("G-padding", "A PixelPaddingValue around the circle of reconstruction", _make_padded, accepted()),
)
