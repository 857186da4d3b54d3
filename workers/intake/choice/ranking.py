"""Ranks stacks by the policy: every criterion is reported, and ties are broken as stated.

Order of ties: more slices, smaller spacing, SeriesInstanceUID; then, inside of one series, what the images hold. The
predecessor's priorities (lung kernels, many slices) are kept where they are right; docs/adr/0006 tells where not.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np

from shared.json_values import JsonValue
from shared.problems import Problem, ProblemCode
from workers.intake.choice.candidate import Candidate
from workers.intake.choice.kernels import classify_kernel
from workers.intake.choice.policy import CHOICE_POLICY, interpolate
from workers.intake.dicom.descriptions import CHEST_WORDS, OTHER_PART_WORDS
from workers.intake.dicom.header import Technique
from workers.intake.files import FileCode
from workers.intake.limits import LARGEST_FIELD_MM
from workers.intake.stacks.geometry import (
    AXIAL_DEGREES,
    MOST_POSITIONS_TOLD,
    StackGeometry,
    compute_axes,
    find_geometry_problem,
    measure_stack,
)
from workers.intake.stacks.grouping import order_by_content
from workers.intake.stacks.stack import Stack

POLICY = CHOICE_POLICY.id
"""Named in reports."""

NEEDED_LUNG_MM = CHOICE_POLICY.needed_lung_mm
"""Least length of lungs along the body."""

_MOST_IN_LOCALIZER = 3
_MOST_UIDS_TOLD = 20


def rank(stacks: Sequence[Stack], *, volume_limit_bytes: int) -> list[Candidate]:
    """Return the stacks as candidates, best first, with the problems that headers can tell."""
    candidates = [_make_candidate(stack, volume_limit_bytes) for stack in stacks]
    _set_localizers_aside(candidates)
    return sorted(candidates, key=_order)


def _order(candidate: Candidate) -> tuple[Hashable, ...]:
    return (
        candidate.problem is not None,
        -candidate.score,
        -len(candidate.stack.images),
        candidate.geometry.spacing_mm,
        candidate.stack.series_uid,
        *order_by_content(candidate.stack.images[0]),
    )


def _make_candidate(stack: Stack, volume_limit_bytes: int) -> Candidate:
    geometry = measure_stack(stack.images)
    criteria = compute_criteria(stack, geometry)
    problem = _find_problem(stack, geometry, volume_limit_bytes)
    return Candidate(stack, geometry, criteria, CHOICE_POLICY.weigh(criteria), problem)


def _set_localizers_aside(candidates: Sequence[Candidate]) -> None:
    """Mark stacks of a few images that lie across the largest stack: localisers whose ImageType does not say so."""
    if not candidates:
        return
    largest = min(candidates, key=lambda one: (-len(one.stack.images), *order_by_content(one.stack.images[0])))
    if len(largest.stack.images) <= _MOST_IN_LOCALIZER:
        return
    normal = compute_axes(largest.stack.images)[2]
    for candidate in candidates:
        images = candidate.stack.images
        angle = np.degrees(np.arccos(min(1.0, abs(float(compute_axes(images)[2] @ normal)))))
        if len(images) <= _MOST_IN_LOCALIZER and angle > AXIAL_DEGREES:
            plural = "s" if len(images) > 1 else ""
            detail = f"A localiser: {len(images)} image{plural} at {angle:.0f} degrees to the largest stack."
            candidate.problem = Problem(ProblemCode.NO_USABLE_SERIES, detail)
            candidate.file_code = FileCode.LOCALIZER


def compute_criteria(stack: Stack, geometry: StackGeometry) -> dict[str, float]:
    """Return the score of each criterion, 0 (worst) to 1."""
    policy, technique = CHOICE_POLICY, stack.technique
    slices = len(stack.images)
    return {
        "axial_original": _score_view(stack, geometry),
        "coverage": interpolate(geometry.extent_mm, policy.extent_scores),
        "field_of_view": interpolate(min(_measure_field(stack)), policy.width_scores),
        "slice_spacing": interpolate(geometry.spacing_mm, policy.spacing_scores),
        "kernel": policy.kernel_scores[classify_kernel(technique.kernel, technique.filter_type)],
        "completeness": round(slices / (slices + geometry.missing), 4),
        "body_part": _score_body_part(technique),
        "matrix": interpolate(min(stack.shape_yx), policy.matrix_scores),
        "inspiration": 0.0 if technique.described.is_expiration else 1.0,
        "contrast": _score_contrast(technique),
    }


def _measure_field(stack: Stack) -> tuple[float, float]:
    """Return height and width of the images in mm."""
    (rows, columns), (spacing_y, spacing_x) = stack.shape_yx, stack.images[0].placement.spacing_yx_mm
    return rows * spacing_y, columns * spacing_x


def _score_view(stack: Stack, geometry: StackGeometry) -> float:
    if not geometry.is_axial or stack.technique.is_derived_view:
        return 0.0
    return 0.7 if "DERIVED" in stack.technique.image_type else 1.0


def _score_body_part(technique: Technique) -> float:
    """The tag comes first, but is often a default of the scanner: a description that names the chest is heard too."""
    if any(word in technique.body_part for word in CHEST_WORDS):
        return 1.0
    names_other = any(word in technique.body_part for word in OTHER_PART_WORDS)
    if technique.described.names_chest:
        return 0.5 if names_other else 1.0
    return 0.0 if names_other or technique.described.names_other_part else 0.5


def _score_contrast(technique: Technique) -> float:
    if technique.described.is_timed_elsewhere:
        return 0.0
    return 0.5 if technique.has_contrast else 1.0


def _find_problem(stack: Stack, geometry: StackGeometry, volume_limit_bytes: int) -> Problem | None:
    if not geometry.is_axial:
        detail = f"The slices are not axial: they lean {geometry.obliqueness_degrees:.0f} degrees."
        return Problem(ProblemCode.NO_USABLE_SERIES, detail)
    if stack.technique.is_derived_view:
        return Problem(ProblemCode.NO_USABLE_SERIES, "The slices are a reformat or a projection, not a scan.")
    if stack.conflicts:
        detail = f"{len(stack.conflicts)} SOPInstanceUIDs stand for more than one image each."
        uids = list(stack.conflicts[:_MOST_UIDS_TOLD])
        return Problem(ProblemCode.CONFLICTING_DUPLICATES, detail, {"sop_instance_uids": uids})
    return (
        _find_contest(stack)
        or _find_size_problem(stack, geometry, volume_limit_bytes)
        or _find_field_problem(stack)
        or find_geometry_problem(geometry)
    )


def _find_contest(stack: Stack) -> Problem | None:
    contested = [round(height, 3) for height in stack.contested_mm]
    if not contested:
        return None
    detail = f"Several slices lie at each of {len(contested)} positions, and nothing tells which belong together."
    places: list[JsonValue] = [[height, height] for height in contested[:MOST_POSITIONS_TOLD]]
    return Problem(ProblemCode.SLICE_GAP, detail, {"positions_mm": places})


def _find_field_problem(stack: Stack) -> Problem | None:
    height_mm, width_mm = _measure_field(stack)
    if max(height_mm, width_mm) <= LARGEST_FIELD_MM:
        return None
    detail = f"The images are {height_mm:.0f} x {width_mm:.0f} mm large (at most {LARGEST_FIELD_MM:.0f})."
    return Problem(ProblemCode.INVALID_GEOMETRY, detail)


def _find_size_problem(stack: Stack, geometry: StackGeometry, volume_limit_bytes: int) -> Problem | None:
    rows, columns = stack.shape_yx
    slices, fewest = len(stack.images), CHOICE_POLICY.fewest_slices
    if slices < fewest:
        return make_coverage_problem(geometry.extent_mm, f"{slices} of at least {fewest} slices")
    if (slices + geometry.missing) * rows * columns * 2 > volume_limit_bytes:
        return Problem(ProblemCode.NO_USABLE_SERIES, f"The volume would be larger than {volume_limit_bytes} bytes.")
    return None


def make_coverage_problem(found_mm: float, what: str) -> Problem:
    """Return the problem of a series that shows too little of the lungs."""
    return Problem(
        ProblemCode.INSUFFICIENT_COVERAGE,
        f"The series covers {found_mm:.1f} mm ({what}); {NEEDED_LUNG_MM:.0f} mm of lungs are needed.",
        {"found_mm": round(found_mm, 2), "needed_mm": NEEDED_LUNG_MM},
    )
