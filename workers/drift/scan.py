"""How a study was scanned, in few and fixed words: what figures are broken down by. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Self

from workers.intake.choice.kernels import KernelClass, classify_kernel


class Scanner(StrEnum):
    """Who made the scanner; names in uploads are without bound, these are not."""

    GE = "ge"
    SIEMENS = "siemens"
    PHILIPS = "philips"
    CANON = "canon"
    OTHER = "other"
    UNKNOWN = "unknown"


class Thickness(StrEnum):
    """Slice thickness in millimetres: at least the first number, below the second."""

    THIN = "below_1.5_mm"
    MEDIUM = "1.5_to_3_mm"
    THICK = "3_to_4.5_mm"
    VERY_THICK = "from_4.5_mm"
    UNKNOWN = "unknown"


_UPPER_MM = {Thickness.THIN: 1.5, Thickness.MEDIUM: 3.0, Thickness.THICK: 4.5}
_MAKERS = {"SIEMENS": Scanner.SIEMENS, "PHILIPS": Scanner.PHILIPS, "CANON": Scanner.CANON, "TOSHIBA": Scanner.CANON}


@dataclass(frozen=True)
class Scan:
    """The acquisition of one study, as far as it is known."""

    scanner: Scanner = Scanner.UNKNOWN
    kernel: KernelClass = KernelClass.UNKNOWN
    thickness: Thickness = Thickness.UNKNOWN

    @classmethod
    def from_facts(cls, facts: Mapping[str, Any]) -> Self:
        """Read the facts that intake keeps of a series: `manufacturer`, `kernel`, `slice_thickness_mm`."""
        kernel = facts.get("kernel") or ()
        names = (kernel,) if isinstance(kernel, str) else tuple(map(str, kernel))
        return cls(
            scanner=judge_scanner(facts.get("manufacturer")),
            kernel=classify_kernel(names) if names else KernelClass.UNKNOWN,
            thickness=judge_thickness(facts.get("slice_thickness_mm")),
        )

    @classmethod
    def from_document(cls, document: Mapping[str, str]) -> Self:
        """Read what `to_document` wrote."""
        return cls(Scanner(document["scanner"]), KernelClass(document["kernel"]), Thickness(document["thickness"]))

    def to_document(self) -> dict[str, str]:
        """Return each facet by its name; the values are all that there can be."""
        return {"scanner": str(self.scanner), "kernel": str(self.kernel), "thickness": str(self.thickness)}


def judge_scanner(manufacturer: str | None) -> Scanner:
    """Return the maker that a DICOM Manufacturer names."""
    words = (manufacturer or "").upper().replace("_", " ").split()
    if not words:
        return Scanner.UNKNOWN
    if words[0] in {"GE", "GEMS"}:
        return Scanner.GE
    return next((maker for word, maker in _MAKERS.items() if words[0].startswith(word)), Scanner.OTHER)


def judge_thickness(thickness_mm: float | None) -> Thickness:
    """Return the band of a slice thickness."""
    if thickness_mm is None or not thickness_mm > 0:
        return Thickness.UNKNOWN
    return next((band for band, upper_mm in _UPPER_MM.items() if thickness_mm < upper_mm), Thickness.VERY_THICK)
