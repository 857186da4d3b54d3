"""Transfer syntaxes (PS3.5 annex A): how a dataset and its pixels are written, and which decoder reads them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from functools import cache

from workers.intake.dicom.scanner import Encoding
from workers.intake.dicom.tolerance import find_syntax_name

IMPLICIT_LITTLE = "1.2.840.10008.1.2"
EXPLICIT_LITTLE = "1.2.840.10008.1.2.1"
DEFLATED_LITTLE = "1.2.840.10008.1.2.1.99"
EXPLICIT_BIG = "1.2.840.10008.1.2.2"


class Codec(StrEnum):
    """A family of compressed streams; one decoder reads each."""

    JPEG = "jpeg"
    JPEG_LS = "jpeg_ls"
    JPEG_2000 = "jpeg_2000"
    RLE = "rle"


_NATIVE = {
    IMPLICIT_LITTLE: Encoding(is_explicit=False, is_little=True),
    EXPLICIT_LITTLE: Encoding(is_explicit=True, is_little=True),
    DEFLATED_LITTLE: Encoding(is_explicit=True, is_little=True),
    EXPLICIT_BIG: Encoding(is_explicit=True, is_little=False),
}
_CODECS = {
    "1.2.840.10008.1.2.4.50": Codec.JPEG,  # baseline
    "1.2.840.10008.1.2.4.51": Codec.JPEG,  # extended
    "1.2.840.10008.1.2.4.57": Codec.JPEG,  # lossless, any predictor
    "1.2.840.10008.1.2.4.70": Codec.JPEG,  # lossless, predictor 1
    "1.2.840.10008.1.2.4.80": Codec.JPEG_LS,
    "1.2.840.10008.1.2.4.81": Codec.JPEG_LS,  # near-lossless
    "1.2.840.10008.1.2.4.90": Codec.JPEG_2000,
    "1.2.840.10008.1.2.4.91": Codec.JPEG_2000,
    "1.2.840.10008.1.2.4.201": Codec.JPEG_2000,  # high throughput, as are the next two
    "1.2.840.10008.1.2.4.202": Codec.JPEG_2000,
    "1.2.840.10008.1.2.4.203": Codec.JPEG_2000,
    "1.2.840.10008.1.2.5": Codec.RLE,
}
_LOSSY = {
    "1.2.840.10008.1.2.4.50",
    "1.2.840.10008.1.2.4.51",
    "1.2.840.10008.1.2.4.81",
    "1.2.840.10008.1.2.4.91",
    "1.2.840.10008.1.2.4.203",
}

# As PS3.6 annex A calls them. pydicom knows all others too, but its import takes longer than to read a study's headers.
_NAMES = {
    IMPLICIT_LITTLE: "Implicit VR Little Endian",
    EXPLICIT_LITTLE: "Explicit VR Little Endian",
    DEFLATED_LITTLE: "Deflated Explicit VR Little Endian",
    EXPLICIT_BIG: "Explicit VR Big Endian",
    "1.2.840.10008.1.2.4.50": "JPEG Baseline (Process 1)",
    "1.2.840.10008.1.2.4.51": "JPEG Extended (Process 2 and 4)",
    "1.2.840.10008.1.2.4.57": "JPEG Lossless, Non-Hierarchical (Process 14)",
    "1.2.840.10008.1.2.4.70": (
        "JPEG Lossless, Non-Hierarchical, First-Order Prediction (Process 14 [Selection Value 1])"
    ),
    "1.2.840.10008.1.2.4.80": "JPEG-LS Lossless Image Compression",
    "1.2.840.10008.1.2.4.81": "JPEG-LS Lossy (Near-Lossless) Image Compression",
    "1.2.840.10008.1.2.4.90": "JPEG 2000 Image Compression (Lossless Only)",
    "1.2.840.10008.1.2.4.91": "JPEG 2000 Image Compression",
    "1.2.840.10008.1.2.4.201": "High-Throughput JPEG 2000 Image Compression (Lossless Only)",
    "1.2.840.10008.1.2.4.202": "High-Throughput JPEG 2000 with RPCL Options Image Compression (Lossless Only)",
    "1.2.840.10008.1.2.4.203": "High-Throughput JPEG 2000 Image Compression",
    "1.2.840.10008.1.2.5": "RLE Lossless",
}

READABLE = frozenset((*_NATIVE, *_CODECS))
"""The UIDs of every transfer syntax that can be read."""


@dataclass(frozen=True)
class TransferSyntax:
    """One transfer syntax. `codec` is None for native pixels, and for those that nothing here reads."""

    name: str
    encoding: Encoding
    is_native: bool
    is_lossy: bool
    codec: Codec | None

    @property
    def is_readable(self) -> bool:
        """Whether the pixels can be read."""
        return self.is_native or self.codec is not None


@cache
def find_syntax(uid: str) -> TransferSyntax:
    """Return what is known of a transfer syntax; an unknown one is unreadable, not an error."""
    return TransferSyntax(
        name=_find_name(uid),
        encoding=_NATIVE.get(uid, _NATIVE[EXPLICIT_LITTLE]),
        is_native=uid in _NATIVE,
        is_lossy=uid in _LOSSY,
        codec=_CODECS.get(uid),
    )


def _find_name(uid: str) -> str:
    return _NAMES.get(uid) or find_syntax_name(uid) or "unknown"
