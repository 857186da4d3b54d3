"""Classes of reconstruction kernels by the vendors' own names."""

from __future__ import annotations

import re
from enum import StrEnum

_SHARP_NUMBER = 50
_SOFT_NUMBER = 30
# Siemens: B70f, Br38f, Bl57d, Bv40; I and Q for iterative ones. Canon: FC51, FC08.
_SIEMENS = re.compile(r"^(?:B|BR|BL|BV|BF|BS|I|Q|QR|D|HR|HC)(\d{2})")
_CANON = re.compile(r"^FC(\d{2})")
_LUNG_WORDS = ("LUNG", "BONE", "EDGE", "CHEST SHARP", "ULTRA", "SHARP")
_STANDARD_WORDS = ("STANDARD", "STND", "DETAIL", "BODY", "ROUTINE")
_SOFT_WORDS = ("SOFT", "SMOOTH")
_PHILIPS = {
    "YA": "lung", "YB": "lung", "YC": "lung", "YD": "lung", "L": "lung", "D": "lung", "E": "lung",
    "B": "standard", "C": "standard", "CA": "standard", "CB": "standard",
    "A": "soft", "SA": "soft", "SB": "soft",
}  # fmt: skip


class KernelClass(StrEnum):
    """How sharp a kernel is."""

    LUNG = "lung"
    STANDARD = "standard"
    SOFT = "soft"
    UNKNOWN = "unknown"


def classify_kernel(kernel: tuple[str, ...] | None, filter_type: str = "") -> KernelClass:
    """Return the class of a kernel; the first of several values names it."""
    name = (kernel[0] if kernel else filter_type).upper().strip()
    if not name:
        return KernelClass.UNKNOWN
    if any(word in name for word in _LUNG_WORDS):
        return KernelClass.LUNG
    if any(word in name for word in _STANDARD_WORDS):
        return KernelClass.STANDARD
    if any(word in name for word in _SOFT_WORDS):
        return KernelClass.SOFT
    if name in _PHILIPS:
        return KernelClass(_PHILIPS[name])
    numbered = _SIEMENS.match(name) or _CANON.match(name)
    return _classify_number(int(numbered[1])) if numbered else KernelClass.UNKNOWN


def _classify_number(number: int) -> KernelClass:
    if number >= _SHARP_NUMBER:
        return KernelClass.LUNG
    return KernelClass.STANDARD if number >= _SOFT_NUMBER else KernelClass.SOFT
