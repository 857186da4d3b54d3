"""Whether a study shows enough of the lungs, judged by organ masks. Pure.

The predecessor's rule, but with the true length of a run: it counted one that begins at the first slice a slice short,
and one that ends at the last a slice too long.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np

from shared.problems import Problem, ProblemCode
from workers.segmentation.labels import LUNG_LOBES, TOTAL_NUMBERS
from workers.volume.label_map import Labels

NEEDED_MM = 145.0
NEEDED_SHARE = 0.35
_PIXELS = 1500
"""A slice with more pixels than these is one of the lungs."""

_TOLERANCE_MM = 1e-3
"""Spacings come out of headers in float32: 250 slices of 0.58 mm are 144.999996 mm."""


@dataclass(frozen=True)
class LungExtent:
    """The longest run of slices that show lung, its part of all slices, and its length."""

    slices: int
    share: float
    length_mm: float

    def describe(self) -> dict[str, float]:
        """Return what was measured and what is needed, as JSON values."""
        return {
            "lung_length_mm": round(self.length_mm, 2),
            "needed_mm": NEEDED_MM,
            "lung_share": round(self.share, 4),
            "needed_share": NEEDED_SHARE,
        }

    def find_problem(self) -> Problem | None:
        """Return what is wrong with so much of the lungs: none, or too short, with what was measured and is needed."""
        if self.slices == 0 or self.share < NEEDED_SHARE:
            return Problem(
                ProblemCode.NO_LUNGS_FOUND,
                f"Lungs take {self.share:.1%} of the slices; at least {NEEDED_SHARE:.0%} are needed.",
                {"lung_length_mm": round(self.length_mm, 2), "lung_share": round(self.share, 4)},
            )
        if self.length_mm < NEEDED_MM - _TOLERANCE_MM:
            return Problem(
                ProblemCode.INSUFFICIENT_COVERAGE,
                f"The lungs cover {self.length_mm:.1f} mm; {NEEDED_MM:.0f} mm are needed.",
                {"found_mm": round(self.length_mm, 2), "needed_mm": NEEDED_MM},
            )
        return None


def count_lung_pixels(labels: Labels) -> list[int]:
    """Return how many pixels of each slice are lung, from labels (z, y, x) of the task `total`."""
    is_lung = np.zeros(256, dtype=bool)
    is_lung[[TOTAL_NUMBERS[lobe] for lobe in LUNG_LOBES]] = True
    return [int(np.count_nonzero(is_lung[plane])) for plane in labels]


def measure_lungs(pixels_per_slice: Sequence[int], spacing_z_mm: float) -> LungExtent:
    """Return the extent of the lungs, from the number of lung pixels in each slice."""
    runs = [len([*run]) for is_lung, run in groupby(count > _PIXELS for count in pixels_per_slice) if is_lung]
    slices = max(runs, default=0)
    return LungExtent(slices, slices / max(1, len(pixels_per_slice)), slices * spacing_z_mm)
