"""The default policy for choosing a stack: weighted criteria, each reported, with a stated tie-break.

Order of ties: more slices, smaller spacing, SeriesInstanceUID. The predecessor's priorities (lung kernels, many
slices) are kept where they are right; unlike it, a thick or short lung series does not beat a thin, whole one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from shared.problems import Problem, ProblemCode
from workers.intake.choice.candidate import Candidate
from workers.intake.choice.kernels import KernelClass, classify_kernel
from workers.intake.choice.predecessor import FEWEST_SLICES
from workers.intake.stacks.geometry import StackGeometry, find_geometry_problem, measure_stack
from workers.intake.stacks.stack import Stack

POLICY = "ranked-1"
NEEDED_LUNG_MM = 145.0
"""Least length of lungs along the body; the limit of the predecessor's own check."""

WEIGHTS: Mapping[str, float] = {
    "axial_original": 3.0,
    "coverage": 3.0,
    "slice_spacing": 2.0,
    "kernel": 2.0,
    "completeness": 2.0,
    "body_part": 1.0,
    "matrix": 0.5,
    "inspiration": 0.5,
    "contrast": 0.25,
}

_KERNEL_SCORES = {
    KernelClass.LUNG: 1.0,
    KernelClass.STANDARD: 0.8,
    KernelClass.SOFT: 0.5,
    KernelClass.UNKNOWN: 0.5,
}
_CHEST_WORDS = ("CHEST", "THORAX", "LUNG")
_NOT_CHEST_WORDS = ("HEAD", "BRAIN", "NECK", "ABDOMEN", "PELVIS", "LEG", "KNEE", "EXTREMITY", "SPINE")
_WHOLE_CHEST_MM = 300.0
_FULL_MATRIX = 512


def rank(stacks: Sequence[Stack], *, volume_limit_bytes: int) -> list[Candidate]:
    """Return the stacks as candidates, best first, with the problems that headers can tell."""
    candidates = [_make_candidate(stack, volume_limit_bytes) for stack in stacks]
    return sorted(candidates, key=_order)


def _order(candidate: Candidate) -> tuple[bool, float, int, float, str]:
    return (
        candidate.problem is not None,
        -candidate.score,
        -len(candidate.stack.images),
        candidate.geometry.spacing_mm,
        candidate.stack.series_uid,
    )


def _make_candidate(stack: Stack, volume_limit_bytes: int) -> Candidate:
    geometry = measure_stack(stack.images)
    criteria = compute_criteria(stack, geometry)
    score = sum(WEIGHTS[name] * value for name, value in criteria.items()) / sum(WEIGHTS.values())
    problem = _find_problem(stack, geometry, volume_limit_bytes)
    return Candidate(stack, geometry, criteria, round(score, 4), problem)


def compute_criteria(stack: Stack, geometry: StackGeometry) -> dict[str, float]:
    """Return the score of each criterion, 0 (worst) to 1."""
    technique = stack.technique
    slices = len(stack.images)
    kernel = classify_kernel(technique.kernel, technique.filter_type)
    return {
        "axial_original": _score_view(stack, geometry),
        "coverage": round(min(1.0, geometry.extent_mm / _WHOLE_CHEST_MM), 4),
        "slice_spacing": _score_spacing(geometry.spacing_mm),
        "kernel": _KERNEL_SCORES[kernel],
        "completeness": round(slices / (slices + geometry.missing), 4),
        "body_part": _score_body_part(technique.body_part),
        "matrix": min(1.0, min(stack.shape_yx) / _FULL_MATRIX),
        "inspiration": 0.0 if technique.is_expiration else 1.0,
        "contrast": 0.5 if technique.has_contrast else 1.0,
    }


def _score_view(stack: Stack, geometry: StackGeometry) -> float:
    if not geometry.is_axial or stack.technique.is_derived_view:
        return 0.0
    return 0.7 if "DERIVED" in stack.technique.image_type else 1.0


def _score_spacing(spacing_mm: float) -> float:
    """1 to 3 mm is best: thinner is noisier and slower to no gain, thicker hides small findings."""
    return round(float(np.interp(spacing_mm, (0.2, 1.0, 3.0, 5.0, 10.0), (0.7, 1.0, 1.0, 0.5, 0.0))), 4)


def _score_body_part(body_part: str) -> float:
    if any(word in body_part for word in _CHEST_WORDS):
        return 1.0
    return 0.0 if any(word in body_part for word in _NOT_CHEST_WORDS) else 0.5


def _find_problem(stack: Stack, geometry: StackGeometry, volume_limit_bytes: int) -> Problem | None:
    rows, columns = stack.shape_yx
    if not geometry.is_axial:
        detail = f"The slices are not axial: {geometry.obliqueness_degrees:.0f} degrees from it."
        return Problem(ProblemCode.NO_USABLE_SERIES, detail)
    if stack.technique.is_derived_view:
        return Problem(ProblemCode.NO_USABLE_SERIES, "The slices are a reformat or a projection, not a scan.")
    if stack.conflicts:
        detail = f"{len(stack.conflicts)} SOPInstanceUIDs stand for more than one image each."
        uids = list(stack.conflicts[:20])
        return Problem(ProblemCode.CONFLICTING_DUPLICATES, detail, {"sop_instance_uids": uids})
    if len(stack.images) < FEWEST_SLICES:
        return make_coverage_problem(geometry.extent_mm, f"{len(stack.images)} of at least {FEWEST_SLICES} slices")
    if (len(stack.images) + geometry.missing) * rows * columns * 2 > volume_limit_bytes:
        return Problem(ProblemCode.NO_USABLE_SERIES, f"The volume would be larger than {volume_limit_bytes} bytes.")
    return find_geometry_problem(geometry)


def make_coverage_problem(found_mm: float, what: str) -> Problem:
    """Return the problem of a series that shows too little of the lungs."""
    return Problem(
        ProblemCode.INSUFFICIENT_COVERAGE,
        f"The series covers {found_mm:.1f} mm ({what}); {NEEDED_LUNG_MM:.0f} mm of lungs are needed.",
        {"found_mm": round(found_mm, 2), "needed_mm": NEEDED_LUNG_MM},
    )
