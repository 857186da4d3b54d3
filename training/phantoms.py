"""Phantom studies as training material: which findings a seed has, and the study as intake would hand it on."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from phantom.gantry import find_column_direction
from phantom.study import FINDINGS, Study
from workers.intake.dicom.header import Placement
from workers.intake.resampling import mend
from workers.intake.stacks.geometry import StackGeometry
from workers.volume import Geometry, Volume

_STREAM = 0x5EED
"""Keeps the draw of the findings apart from the draws that the phantom makes of the same seed."""

_X_DIRECTION = (1.0, 0.0, 0.0)
_Y_DIRECTION = (0.0, 1.0, 0.0)


@dataclass(frozen=True)
class Prevalence:
    """How often studies are normal, and how many findings the others have at most."""

    normal: float = 0.5
    most_findings: int = 3


def draw_findings(
    seed: int, prevalence: Prevalence, names: Sequence[str] = FINDINGS, stream: int = _STREAM
) -> tuple[str, ...]:
    """Return none, or one to `most_findings` different ones of the names, each as likely as the others."""
    generator = np.random.default_rng((stream, seed))
    if generator.random() < prevalence.normal:
        return ()
    count = int(generator.integers(1, prevalence.most_findings + 1))
    chosen = generator.choice(len(names), size=min(count, len(names)), replace=False)
    return tuple(names[index] for index in sorted(chosen))


def make_volume(study: Study) -> Volume:
    """Return the study as intake hands it on: int16 HU (z, y, x) with LPS geometry, padding read as air.

    Leaning planes are sheared back as intake does, so the study's labels do not lie on the grid of the volume then.
    """
    hu = study.hu
    if study.padding_hu is not None:
        hu = np.where(hu == study.padding_hu, np.int16(-1024), hu)
    if study.gantry_tilt_degrees:
        return _shear_back(study, hu)
    geometry = Geometry(study.spacing_zyx_mm, study.origin_lps_mm, _X_DIRECTION, _Y_DIRECTION)
    return Volume(hu, geometry, {"kernel": study.kernel})


def _shear_back(study: Study, hu: npt.NDArray[np.int16]) -> Volume:
    """Return the volume of leaning planes, each above the one before it."""
    _, step_y, step_x = study.spacing_zyx_mm
    down = find_column_direction(study.gantry_tilt_degrees)
    first = Placement(study.origin_lps_mm, _X_DIRECTION, down, (step_y, step_x), 1.0, 0.0, None)
    stack = _describe_stack(study)
    straight, corner = mend(hu.copy(), stack, first)
    geometry = Geometry((stack.spacing_mm, step_y, step_x), corner, _X_DIRECTION, down)
    return Volume(straight, geometry, {"kernel": study.kernel})


def _describe_stack(study: Study) -> StackGeometry:
    angle = math.radians(study.gantry_tilt_degrees)
    step_mm = study.spacing_zyx_mm[0] * math.cos(angle)
    return StackGeometry(
        heights_mm=tuple(step_mm * index for index in range(len(study.hu))),
        spacing_mm=step_mm,
        is_uniform=True,
        gaps=(),
        drift=(0.0, math.tan(angle)),
        jitter_mm=0.0,
        obliqueness_degrees=abs(study.gantry_tilt_degrees),
        table_degrees=0.0,
    )
