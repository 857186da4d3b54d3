"""Classes of reconstruction kernels by the vendors' own names, whatever their case and spaces.

Words come first (GE, United Imaging, Neusoft, Philips' long names), then letters (Philips), then numbers: Siemens
B70f, Br38f, Bl57d, I26f and Canon FC51. Hitachi and others name kernels by bare numbers that nobody has published:
those stay unknown.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum


class KernelClass(StrEnum):
    """How sharp a kernel is."""

    LUNG = "lung"
    STANDARD = "standard"
    SOFT = "soft"
    UNKNOWN = "unknown"


_SHARP_NUMBER = 50
_SOFT_NUMBER = 30
# Siemens: a family (B body, H head, U ultra, D, I, J, Q, T; Br, Bl, Bv, Hr, Qr, Sa, Ur...), a number, a revision.
_NUMBERED = re.compile(r"^(?:FC|[BCDHIJQSTU][CEFLNRSV]?|SA|TR|QR)(\d{2})(?!\d)")
_WORDS: Mapping[str, KernelClass] = {
    "LUNG": KernelClass.LUNG,
    "BONE": KernelClass.LUNG,
    "EDGE": KernelClass.LUNG,
    "ULTRA": KernelClass.LUNG,
    "SHARP": KernelClass.LUNG,
    "STANDARD": KernelClass.STANDARD,
    "STND": KernelClass.STANDARD,
    "DETAIL": KernelClass.STANDARD,
    "BODY": KernelClass.STANDARD,
    "ROUTINE": KernelClass.STANDARD,
    "MEDIAST": KernelClass.STANDARD,
    "CHST": KernelClass.STANDARD,
    "CHEST": KernelClass.STANDARD,
    "SOFT": KernelClass.SOFT,
    "SMOOTH": KernelClass.SOFT,
}
_PHILIPS: Mapping[str, KernelClass] = {
    **dict.fromkeys(("YA", "YB", "YC", "YD", "L", "D", "E"), KernelClass.LUNG),
    **dict.fromkeys(("B", "C", "CA", "CB", "CC", "XCB", "XCC"), KernelClass.STANDARD),
    **dict.fromkeys(("A", "SA", "SB", "UA", "XCA"), KernelClass.SOFT),
}


def classify_kernel(kernel: tuple[str, ...] | None, filter_type: str = "") -> KernelClass:
    """Return the class of a kernel; the first of several values that is known names it."""
    classes = (_classify_name(name) for name in kernel or (filter_type,))
    return next((one for one in classes if one is not KernelClass.UNKNOWN), KernelClass.UNKNOWN)


def _classify_name(name: str) -> KernelClass:
    plain = re.sub(r"[\s_-]", "", name.upper())
    for word, kernel_class in _WORDS.items():
        if word in plain:
            return kernel_class
    if plain in _PHILIPS:
        return _PHILIPS[plain]
    numbered = _NUMBERED.match(plain)
    return _classify_number(int(numbered[1])) if numbered else KernelClass.UNKNOWN


def _classify_number(number: int) -> KernelClass:
    if number >= _SHARP_NUMBER:
        return KernelClass.LUNG
    return KernelClass.STANDARD if number >= _SOFT_NUMBER else KernelClass.SOFT
