"""Reconstruction kernels by the names that vendors use."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Kernel:
    """One reconstruction: `blur_mm` of the point spread, `edge` overshoot of sharp kernels, noise in HU."""

    name: str
    manufacturer: str
    blur_mm: float
    edge: float
    noise_hu: float
    noise_grain_mm: float


KERNELS: Mapping[str, Kernel] = {
    kernel.name: kernel
    for kernel in (
        Kernel("SOFT", "GE MEDICAL SYSTEMS", 0.95, 0.0, 8.0, 1.3),
        Kernel("STANDARD", "GE MEDICAL SYSTEMS", 0.75, 0.0, 11.0, 1.1),
        Kernel("LUNG", "GE MEDICAL SYSTEMS", 0.45, 0.5, 32.0, 0.5),
        Kernel("BONE", "GE MEDICAL SYSTEMS", 0.4, 0.6, 38.0, 0.45),
        Kernel("B30f", "SIEMENS", 0.9, 0.0, 9.0, 1.2),
        Kernel("B40f", "SIEMENS", 0.75, 0.0, 11.0, 1.1),
        Kernel("B60f", "SIEMENS", 0.5, 0.35, 26.0, 0.6),
        Kernel("B70f", "SIEMENS", 0.4, 0.6, 36.0, 0.45),
        Kernel("B", "Philips", 0.8, 0.0, 11.0, 1.1),
        Kernel("YA", "Philips", 0.5, 0.45, 28.0, 0.55),
        Kernel("FC18", "CANON_MEC", 0.75, 0.0, 12.0, 1.0),
        Kernel("FC52", "CANON_MEC", 0.45, 0.45, 30.0, 0.5),
        Kernel("FC81", "CANON_MEC", 0.4, 0.55, 36.0, 0.45),
    )
}
