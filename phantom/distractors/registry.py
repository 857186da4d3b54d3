"""Every distractor, and which of them a patient has."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from phantom.anatomy.plan import BodyPlan
from phantom.distractors.artefacts import blur_by_motion, harden_beam, put_metal_in
from phantom.distractors.distractor import Distractor
from phantom.distractors.variants import grow_breasts, paint_azygos_lobe

REGISTRY: Mapping[str, Distractor] = {
    distractor.name: distractor
    for distractor in (
        Distractor("azygos_lobe", paint_azygos_lobe),
        Distractor("gynaecomastia", change=grow_breasts, is_of_men=True),
        Distractor("motion", blur_by_motion, is_artefact=True),
        Distractor("beam_hardening", harden_beam, is_artefact=True),
        Distractor("metal", put_metal_in, is_artefact=True),
    )
}
DISTRACTORS: tuple[str, ...] = tuple(REGISTRY)


def draw_distractors(plan: BodyPlan, share: float, rng: np.random.Generator) -> tuple[Distractor, ...]:
    """Return those of a patient: each that suits, with a chance of `share`."""
    chances = rng.random(len(REGISTRY))
    pairs = zip(REGISTRY.values(), chances, strict=True)
    return tuple(distractor for distractor, chance in pairs if chance < share and distractor.suits(plan))
