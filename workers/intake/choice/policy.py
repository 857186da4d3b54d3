"""The policy for choosing a stack: what counts, how much, and what scores how well. A change gets a new id."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from workers.intake.choice.kernels import KernelClass

Breakpoints = tuple[tuple[float, float], ...]
"""Pairs of a measured value, ascending, and its score; straight lines lie between them."""


@dataclass(frozen=True)
class ChoicePolicy:
    """How stacks are scored. `weights` name every criterion; each criterion scores 0 (worst) to 1."""

    name: str
    version: int
    weights: Mapping[str, float]
    kernel_scores: Mapping[KernelClass, float]
    spacing_scores: Breakpoints
    extent_scores: Breakpoints
    width_scores: Breakpoints
    matrix_scores: Breakpoints
    fewest_slices: int
    needed_lung_mm: float

    @property
    def id(self) -> str:
        """Name and version, as told in reports."""
        return f"{self.name}-{self.version}"

    def weigh(self, criteria: Mapping[str, float]) -> float:
        """Return the weighted mean of the criteria, to four decimals: what differs by less is a tie."""
        total = sum(self.weights[name] * value for name, value in criteria.items())
        return round(total / sum(self.weights.values()), 4)


def interpolate(value: float, breakpoints: Breakpoints) -> float:
    """Return the score of a measured value."""
    values, scores = zip(*breakpoints, strict=True)
    return round(float(np.interp(value, values, scores)), 4)


CHOICE_POLICY = ChoicePolicy(
    name="ranked",
    version=3,
    weights={
        "axial_original": 3.0,
        "coverage": 3.0,
        "field_of_view": 3.0,
        "slice_spacing": 2.0,
        "kernel": 2.0,
        "completeness": 2.0,
        "body_part": 1.0,
        "matrix": 0.5,
        "inspiration": 0.5,
        "contrast": 0.25,
    },
    kernel_scores={
        KernelClass.LUNG: 1.0,
        KernelClass.STANDARD: 0.8,
        KernelClass.SOFT: 0.5,
        KernelClass.UNKNOWN: 0.5,
    },
    # 1 to 3 mm is best: thinner is noisier and slower to no gain, thicker hides small findings.
    spacing_scores=((0.2, 0.7), (1.0, 1.0), (3.0, 1.0), (5.0, 0.5), (10.0, 0.0)),
    extent_scores=((0.0, 0.0), (300.0, 1.0)),
    # A reconstruction of one lung is 150 to 200 mm wide; a whole chest, without arms, fits into 280 mm.
    width_scores=((150.0, 0.0), (280.0, 1.0)),
    matrix_scores=((0.0, 0.0), (512.0, 1.0)),
    fewest_slices=20,
    needed_lung_mm=145.0,
)
"""`fewest_slices` is the predecessor's, `needed_lung_mm` the limit of its own check of the lungs."""
