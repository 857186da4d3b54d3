"""Geometry of a stack, derived from positions and orientation alone: what tags claim beside them is not used."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from shared.json_values import JsonObject
from shared.problems import Problem, ProblemCode
from workers.intake.dicom.header import Image
from workers.intake.limits import LARGEST_EXTENT_MM, LARGEST_STEP_MM
from workers.intake.notices import Notice

_UNIFORM_MM = 0.01
_UNIFORM_SHARE = 0.01
_ROUNDING_MM = 1e-6
REGULAR_SHARE = 0.1
_SLICES_PER_MISSING = 10
_SMALLEST_TILT_DEGREES = 0.1
_SMALLEST_SHEAR_MM = 0.02  # positions written with two decimals are no tilt
_LARGEST_TILT_DEGREES = 30.0
_LARGEST_JITTER_MM = 1.0
_LARGEST_THICKNESS_MM = 100.0
MOST_POSITIONS_TOLD = 20
AXIAL_DEGREES = 15.0
_STRAIGHT_DEGREES = 1.0
_THICK_MM = 5.0
_QUANTA_MM = (1.0, 0.5, 0.1, 0.05, 0.01)
_QUANTUM_SHARE = 0.75  # of a quantum: a line fitted to rounded positions leaves more than one half where errors slip

Numbers = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Gap:
    """A step between two slices that is not the usual one; `missing` is None when no whole number fits."""

    from_mm: float
    to_mm: float
    missing: int | None


@dataclass(frozen=True)
class StackGeometry:
    """Measured geometry.

    `heights_mm` are the positions along the normal, ascending. `drift` is by how many mm the image plane's corner
    moves along (row, column) direction per mm of height: not zero when the gantry was tilted. `table_degrees` is the
    angle between the line through the corners, along which the table ran, and that from feet to head. `rounded_to_mm`
    is told when the slices are evenly spaced but for the rounding of their positions.
    """

    heights_mm: tuple[float, ...]
    spacing_mm: float
    is_uniform: bool
    gaps: tuple[Gap, ...]
    drift: tuple[float, float]
    jitter_mm: float
    obliqueness_degrees: float
    table_degrees: float
    rounded_to_mm: float | None = None

    @property
    def extent_mm(self) -> float:
        """Thickness of the stack, slices of one spacing each."""
        return (len(self.heights_mm) + self.missing) * self.spacing_mm

    @property
    def missing(self) -> int:
        """How many slices are missing inside the stack, as far as it can be told."""
        return sum(gap.missing or 0 for gap in self.gaps)

    @property
    def tilt_degrees(self) -> float:
        """Angle between the normal and the line through the slices' corners."""
        return math.degrees(math.atan(math.hypot(*self.drift)))

    @property
    def is_tilted(self) -> bool:
        """Whether the slices must be sheared back."""
        shear_mm = math.hypot(*self.drift) * (self.heights_mm[-1] - self.heights_mm[0])
        return self.tilt_degrees > _SMALLEST_TILT_DEGREES and shear_mm > _SMALLEST_SHEAR_MM

    @property
    def is_axial(self) -> bool:
        """Whether the slices lie across the body; a tilted gantry leans, while its table runs along the body."""
        leaning = min(self.obliqueness_degrees, self.table_degrees) if self.is_tilted else self.obliqueness_degrees
        return leaning <= AXIAL_DEGREES


def compute_axes(images: Sequence[Image]) -> Numbers:
    """Return the unit vectors of row, column and normal, as rows, in the mean over images that are nearly parallel.

    The sums are exact, so the order of the images does not matter.
    """
    row = _compute_mean([image.placement.row_direction for image in images])
    column = _compute_mean([image.placement.column_direction for image in images])
    row /= np.linalg.norm(row)
    column -= (column @ row) * row
    column /= np.linalg.norm(column)
    return np.stack([row, column, np.cross(row, column)])


def _compute_mean(directions: Sequence[tuple[float, float, float]]) -> Numbers:
    if len(set(directions)) == 1:
        return np.asarray(directions[0], dtype=np.float64)
    return np.asarray([math.fsum(values) / len(directions) for values in zip(*directions, strict=True)])


def _get_positions(images: Sequence[Image]) -> Numbers:
    return np.asarray([image.placement.position_mm for image in images], dtype=np.float64)


def measure_stack(images: Sequence[Image]) -> StackGeometry:
    """Return the geometry of images that are ordered along their normal."""
    axes, positions = compute_axes(images), _get_positions(images)
    normal, heights = axes[2], positions @ axes[2]
    steepest = int(np.argmax(np.abs(normal)))
    spacing, is_uniform, rounded_to = _measure_spacing(
        heights, positions[:, steepest], images[0].technique.thickness_mm
    )
    drift, jitter = _measure_drift(axes[:2], positions, heights)
    table = np.asarray([*drift, 1.0]) @ axes
    return StackGeometry(
        heights_mm=tuple(float(height) for height in heights),
        spacing_mm=spacing,
        is_uniform=is_uniform,
        gaps=() if is_uniform else _find_gaps(heights, spacing),
        drift=drift,
        jitter_mm=jitter,
        obliqueness_degrees=measure_lean(normal),
        table_degrees=measure_lean(table / np.linalg.norm(table)),
        rounded_to_mm=rounded_to,
    )


def measure_lean(direction: Numbers) -> float:
    """Return the angle between a unit vector, either way along it, and the line from feet to head."""
    return math.degrees(math.acos(min(1.0, abs(float(direction[2])))))


def _measure_spacing(
    heights: Numbers, written: Numbers, thickness_mm: float | None
) -> tuple[float, bool, float | None]:
    """Return the spacing, whether it is even, and what positions were rounded to if that alone makes it uneven.

    Only a single slice has to believe its thickness. `written` are the coordinates that say most of the height.
    """
    if len(heights) < 2:
        return min(thickness_mm or 1.0, _LARGEST_THICKNESS_MM), True, None
    steps = np.diff(heights)
    median = float(np.median(steps))
    mean = round(float(heights[-1] - heights[0]) / len(steps), 6)
    deviation = float(np.abs(steps - median).max())
    if deviation <= max(_UNIFORM_MM, _UNIFORM_SHARE * median) + _ROUNDING_MM:
        # The mean over all steps: rounded positions would bias the median.
        return mean, True, None
    quantum = None if deviation <= REGULAR_SHARE * median else _find_quantum(heights, written)
    return (round(median, 6), False, None) if quantum is None else (mean, True, quantum)


def _find_quantum(heights: Numbers, written: Numbers) -> float | None:
    """Return what even positions were rounded to, or None when rounding does not explain their unevenness.

    Some writers keep one decimal, so that 0.625 mm become steps of 0.6 and 0.7 (dicom2nifti issues 36 and 58).
    """
    quantum = next((one for one in _QUANTA_MM if np.abs(written - np.rint(written / one) * one).max() < 1e-6), None)
    if quantum is None:
        return None
    indices = np.arange(len(heights)) - (len(heights) - 1) / 2
    spacing = float(indices @ heights / (indices @ indices))
    residue = float(np.abs(heights - heights.mean() - spacing * indices).max())
    # Half of the spacing at most: beyond, a slice that is missing would hide in the rounding.
    return quantum if quantum <= spacing / 2 and residue <= _QUANTUM_SHARE * quantum else None


def _measure_drift(axes: Numbers, positions: Numbers, heights: Numbers) -> tuple[tuple[float, float], float]:
    """Fit the corner's movement along the rows and columns by a line over height; return its slope and the residue."""
    centred = heights - heights.mean()
    if not centred.any():
        return (0.0, 0.0), 0.0
    offsets = (positions - positions[0]) @ axes.T
    slopes = centred @ offsets / (centred @ centred)
    residue = offsets - offsets.mean(axis=0) - np.outer(centred, slopes)
    return (float(slopes[0]), float(slopes[1])), float(np.abs(residue).max())


def _find_gaps(heights: Numbers, spacing: float) -> tuple[Gap, ...]:
    gaps = []
    for index, step in enumerate(np.diff(heights)):
        if abs(step - spacing) <= REGULAR_SHARE * spacing:
            continue
        count = round(float(step) / max(spacing, _ROUNDING_MM))
        is_multiple = count >= 2 and abs(step - count * spacing) <= REGULAR_SHARE * spacing
        gaps.append(Gap(float(heights[index]), float(heights[index + 1]), count - 1 if is_multiple else None))
    return tuple(gaps)


def find_geometry_problem(geometry: StackGeometry) -> Problem | None:
    """Return why a volume cannot be made of the stack, or None."""
    if geometry.tilt_degrees > _LARGEST_TILT_DEGREES or geometry.jitter_mm > _LARGEST_JITTER_MM:
        tilt, jitter = round(geometry.tilt_degrees, 1), round(geometry.jitter_mm, 1)
        detail = (
            f"The slices are shifted against each other: tilt {tilt} degrees (at most {_LARGEST_TILT_DEGREES:.0f}), "
            f"jitter {jitter} mm (at most {_LARGEST_JITTER_MM:.0f})."
        )
        facts: JsonObject = {"tilt_degrees": tilt, "limit_degrees": _LARGEST_TILT_DEGREES, "jitter_mm": jitter}
        return Problem(ProblemCode.INVALID_GEOMETRY, detail, facts)
    if round(geometry.spacing_mm, 3) > LARGEST_STEP_MM or geometry.extent_mm > LARGEST_EXTENT_MM:
        detail = (
            f"The slices are {geometry.spacing_mm:.3f} mm apart (at most {LARGEST_STEP_MM:.0f}) and reach over "
            f"{geometry.extent_mm:.0f} mm (at most {LARGEST_EXTENT_MM:.0f})."
        )
        return Problem(ProblemCode.INVALID_GEOMETRY, detail)
    if not _can_bridge(geometry):
        detail = f"Slices are missing or unevenly spaced at {len(geometry.gaps)} places."
        return Problem(ProblemCode.SLICE_GAP, detail, describe_gaps(geometry))
    return None


def _can_bridge(geometry: StackGeometry) -> bool:
    """One missing slice at a place can be interpolated, one in ten at most."""
    is_bridgeable = all(gap.missing == 1 for gap in geometry.gaps)
    slices = len(geometry.heights_mm) + geometry.missing
    return is_bridgeable and geometry.missing * _SLICES_PER_MISSING <= slices


def describe_gaps(geometry: StackGeometry) -> JsonObject:
    """Return where slices are missing."""
    return {
        "spacing_mm": geometry.spacing_mm,
        "positions_mm": [[round(gap.from_mm, 3), round(gap.to_mm, 3)] for gap in geometry.gaps[:MOST_POSITIONS_TOLD]],
        "missing_slices": geometry.missing,
    }


def find_geometry_notices(geometry: StackGeometry) -> tuple[Notice, ...]:
    """Return what was mended or is unusual."""
    notices = list(_find_spacing_notices(geometry))
    if geometry.is_tilted:
        notices.append(Notice("tilt_corrected", {"degrees": round(geometry.tilt_degrees, 2)}))
    return (*notices, *find_slice_notices(geometry.spacing_mm, geometry.obliqueness_degrees))


def find_slice_notices(spacing_mm: float, obliqueness_degrees: float) -> tuple[Notice, ...]:
    """Return what is unusual about how far slices are apart and how they lean."""
    notices = []
    if round(spacing_mm, 3) > _THICK_MM:
        notices.append(Notice("thick_slices", {"spacing_mm": round(spacing_mm, 6)}))
    if obliqueness_degrees > _STRAIGHT_DEGREES:
        notices.append(Notice("oblique", {"degrees": round(obliqueness_degrees, 2)}))
    return tuple(notices)


def _find_spacing_notices(geometry: StackGeometry) -> tuple[Notice, ...]:
    spacing: JsonObject = {"spacing_mm": geometry.spacing_mm}
    if geometry.gaps:
        return (Notice("slices_interpolated", describe_gaps(geometry)),)
    if geometry.rounded_to_mm is not None:
        return (Notice("positions_rounded", {**spacing, "rounded_to_mm": geometry.rounded_to_mm}),)
    if geometry.is_uniform:
        return ()
    steps = np.diff(geometry.heights_mm)
    facts = {"shortest_mm": round(float(steps.min()), 4), "longest_mm": round(float(steps.max()), 4)}
    return (Notice("non_uniform_spacing", {**spacing, **facts}),)
