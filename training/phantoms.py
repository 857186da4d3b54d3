"""Phantom studies as training material: which findings a seed has, and the study as intake would hand it on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from phantom.study import FINDINGS, Study
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


def draw_findings(seed: int, prevalence: Prevalence) -> tuple[str, ...]:
    """Return none, or one to `most_findings` different findings, each as likely as the others."""
    generator = np.random.default_rng((_STREAM, seed))
    if generator.random() < prevalence.normal:
        return ()
    count = int(generator.integers(1, prevalence.most_findings + 1))
    chosen = generator.choice(len(FINDINGS), size=min(count, len(FINDINGS)), replace=False)
    return tuple(FINDINGS[index] for index in sorted(chosen))


def make_volume(study: Study) -> Volume:
    """Return the study as intake hands it on: int16 HU (z, y, x) with LPS geometry, padding read as air."""
    hu = study.hu
    if study.padding_hu is not None:
        hu = np.where(hu == study.padding_hu, np.int16(-1024), hu)
    geometry = Geometry(study.spacing_zyx_mm, study.origin_lps_mm, _X_DIRECTION, _Y_DIRECTION)
    return Volume(hu, geometry, {"kernel": study.kernel})
