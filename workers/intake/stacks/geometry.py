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
from workers.intake.notices import Notice

_UNIFORM_MM = 0.01
_UNIFORM_SHARE = 0.01
_ROUNDING_MM = 1e-6
_REGULAR_SHARE = 0.1
_SLICES_PER_MISSING = 10
_SMALLEST_TILT_DEGREES = 0.1
_LARGEST_TILT_DEGREES = 30.0
_LARGEST_JITTER_MM = 1.0
_MOST_POSITIONS_TOLD = 20
AXIAL_DEGREES = 15.0
_STRAIGHT_DEGREES = 1.0


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
    moves along (row, column) direction per mm of height: not zero when the gantry was tilted.
    """

    heights_mm: tuple[float, ...]
    spacing_mm: float
    is_uniform: bool
    gaps: tuple[Gap, ...]
    drift: tuple[float, float]
    jitter_mm: float
    obliqueness_degrees: float

    @property
    def extent_mm(self) -> float:
        """Thickness of the stack, slices of one spacing each."""
        return (len(self.heights_mm) - 1 + self.missing) * self.spacing_mm + self.spacing_mm

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
        return self.tilt_degrees > _SMALLEST_TILT_DEGREES

    @property
    def is_axial(self) -> bool:
        """Whether the slices lie across the body."""
        return self.obliqueness_degrees <= AXIAL_DEGREES


def measure_stack(images: Sequence[Image]) -> StackGeometry:
    """Return the geometry of images that are ordered along their normal."""
    normal = np.asarray(images[0].normal)
    positions = np.asarray([image.placement.position_mm for image in images])
    heights = positions @ normal
    spacing, is_uniform = _measure_spacing(heights, images[0].technique.thickness_mm)
    drift, jitter = _measure_drift(images[0], positions, heights)
    return StackGeometry(
        heights_mm=tuple(float(height) for height in heights),
        spacing_mm=spacing,
        is_uniform=is_uniform,
        gaps=_find_gaps(heights, spacing),
        drift=drift,
        jitter_mm=jitter,
        obliqueness_degrees=math.degrees(math.acos(min(1.0, abs(float(normal[2]))))),
    )


def _measure_spacing(heights: npt.NDArray[np.float64], thickness_mm: float | None) -> tuple[float, bool]:
    """Return the spacing and whether it is even. Only a single slice has to believe its thickness."""
    if len(heights) < 2:
        return thickness_mm or 1.0, True
    steps = np.diff(heights)
    median = float(np.median(steps))
    if np.abs(steps - median).max() <= max(_UNIFORM_MM, _UNIFORM_SHARE * median) + _ROUNDING_MM:
        # The mean over all steps: rounded positions would bias the median.
        return round(float(heights[-1] - heights[0]) / len(steps), 6), True
    return round(median, 6), False


def _measure_drift(
    first: Image, positions: npt.NDArray[np.float64], heights: npt.NDArray[np.float64]
) -> tuple[tuple[float, float], float]:
    """Fit the corner's movement along the rows and columns by a line over height; return its slope and the residue."""
    if len(heights) < 2:
        return (0.0, 0.0), 0.0
    axes = np.asarray([first.placement.row_direction, first.placement.column_direction])
    offsets = (positions - positions[0]) @ axes.T
    centred = heights - heights.mean()
    slopes = centred @ offsets / (centred @ centred)
    residue = offsets - offsets.mean(axis=0) - np.outer(centred, slopes)
    return (float(slopes[0]), float(slopes[1])), float(np.abs(residue).max())


def _find_gaps(heights: npt.NDArray[np.float64], spacing: float) -> tuple[Gap, ...]:
    gaps = []
    for index, step in enumerate(np.diff(heights)):
        if abs(step - spacing) <= _REGULAR_SHARE * spacing:
            continue
        count = round(float(step) / spacing)
        is_multiple = count >= 2 and abs(step - count * spacing) <= _REGULAR_SHARE * spacing
        gaps.append(Gap(float(heights[index]), float(heights[index + 1]), count - 1 if is_multiple else None))
    return tuple(gaps)


def find_geometry_problem(geometry: StackGeometry) -> Problem | None:
    """Return why a volume cannot be made of the stack, or None."""
    if geometry.tilt_degrees > _LARGEST_TILT_DEGREES or geometry.jitter_mm > _LARGEST_JITTER_MM:
        detail = (
            f"The slices are shifted against each other: tilt {geometry.tilt_degrees:.1f} degrees "
            f"(at most {_LARGEST_TILT_DEGREES:.0f}), jitter {geometry.jitter_mm:.1f} mm."
        )
        return Problem(ProblemCode.INVALID_GEOMETRY, detail)
    if not _can_bridge(geometry):
        detail = f"Slices are missing or unevenly spaced at {len(geometry.gaps)} places."
        return Problem(ProblemCode.SLICE_GAP, detail, describe_gaps(geometry))
    return None


def _can_bridge(geometry: StackGeometry) -> bool:
    """One missing slice at a place can be interpolated, one in ten at most."""
    is_bridgeable = all(gap.missing == 1 for gap in geometry.gaps)
    return is_bridgeable and geometry.missing * _SLICES_PER_MISSING <= len(geometry.heights_mm)


def describe_gaps(geometry: StackGeometry) -> JsonObject:
    """Return where slices are missing."""
    return {
        "spacing_mm": geometry.spacing_mm,
        "positions_mm": [[round(gap.from_mm, 3), round(gap.to_mm, 3)] for gap in geometry.gaps[:_MOST_POSITIONS_TOLD]],
        "missing_slices": geometry.missing,
    }


def find_geometry_notices(geometry: StackGeometry) -> tuple[Notice, ...]:
    """Return what was mended or is unusual."""
    notices = []
    if geometry.gaps:
        notices.append(Notice("slices_interpolated", describe_gaps(geometry)))
    elif not geometry.is_uniform:
        steps = np.diff(geometry.heights_mm)
        facts = {"shortest_mm": round(float(steps.min()), 4), "longest_mm": round(float(steps.max()), 4)}
        notices.append(Notice("non_uniform_spacing", {"spacing_mm": geometry.spacing_mm, **facts}))
    if geometry.is_tilted:
        notices.append(Notice("tilt_corrected", {"degrees": round(geometry.tilt_degrees, 2)}))
    if geometry.obliqueness_degrees > _STRAIGHT_DEGREES:
        notices.append(Notice("oblique", {"degrees": round(geometry.obliqueness_degrees, 2)}))
    return tuple(notices)
