"""Transfer syntaxes (PS3.5 annex A): how a dataset and its pixels are written, and which decoder reads them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import pydicom.config
from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import UID

from workers.intake.dicom.scanner import Encoding

IMPLICIT_LITTLE = "1.2.840.10008.1.2"
EXPLICIT_LITTLE = "1.2.840.10008.1.2.1"
DEFLATED_LITTLE = "1.2.840.10008.1.2.1.99"
EXPLICIT_BIG = "1.2.840.10008.1.2.2"

_NATIVE = {
    IMPLICIT_LITTLE: Encoding(is_explicit=False, is_little=True),
    EXPLICIT_LITTLE: Encoding(is_explicit=True, is_little=True),
    DEFLATED_LITTLE: Encoding(is_explicit=True, is_little=True),
    EXPLICIT_BIG: Encoding(is_explicit=True, is_little=False),
}
_LOSSY = {
    "1.2.840.10008.1.2.4.50",
    "1.2.840.10008.1.2.4.51",
    "1.2.840.10008.1.2.4.81",
    "1.2.840.10008.1.2.4.91",
    "1.2.840.10008.1.2.4.203",
}

# Named, so that the answer does not depend on what else happens to be installed; the first that is there is used.
# JPEG-LS of CharLS is the fastest of its kind; GDCM is the fastest reader of JPEG and JPEG 2000 that we measured.
_PLUGINS: dict[str, tuple[str, ...]] = {
    "1.2.840.10008.1.2.4.50": ("gdcm", "pylibjpeg"),
    "1.2.840.10008.1.2.4.51": ("pylibjpeg", "gdcm"),
    "1.2.840.10008.1.2.4.57": ("gdcm", "pylibjpeg"),
    "1.2.840.10008.1.2.4.70": ("gdcm", "pylibjpeg"),
    "1.2.840.10008.1.2.4.80": ("pyjpegls", "gdcm"),
    "1.2.840.10008.1.2.4.81": ("pyjpegls", "gdcm"),
    "1.2.840.10008.1.2.4.90": ("gdcm", "pylibjpeg"),
    "1.2.840.10008.1.2.4.91": ("gdcm", "pylibjpeg"),
    "1.2.840.10008.1.2.4.201": ("pylibjpeg",),
    "1.2.840.10008.1.2.4.202": ("pylibjpeg",),
    "1.2.840.10008.1.2.4.203": ("pylibjpeg",),
    "1.2.840.10008.1.2.5": ("pylibjpeg", "pydicom"),
}


@dataclass(frozen=True)
class TransferSyntax:
    """One transfer syntax. `plugin` is pydicom's name of the decoder, None for native pixels."""

    uid: str
    name: str
    encoding: Encoding
    is_native: bool
    is_lossy: bool
    plugin: str | None

    @property
    def is_readable(self) -> bool:
        """Whether this installation can decode the pixels."""
        return self.is_native or self.plugin is not None


@cache
def find_syntax(uid: str) -> TransferSyntax:
    """Return what is known of a transfer syntax; an unknown one is unreadable, not an error."""
    is_native = uid in _NATIVE
    return TransferSyntax(
        uid=uid,
        name=_find_name(uid),
        encoding=_NATIVE.get(uid, _NATIVE[EXPLICIT_LITTLE]),
        is_native=is_native,
        is_lossy=uid in _LOSSY,
        plugin=None if is_native else _find_plugin(uid),
    )


def _find_name(uid: str) -> str:
    known = UID(uid, validation_mode=pydicom.config.IGNORE)
    return known.name if known.is_transfer_syntax else "unknown"


def _find_plugin(uid: str) -> str | None:
    wanted = _PLUGINS.get(uid)
    if wanted is None:
        return None
    available = get_decoder(uid).available_plugins
    return next((plugin for plugin in wanted if plugin in available), None)
