"""What the predecessor made of the same features, kept for comparison only.

It filled whatever was missing with 0.0 and named as leading the largest single numbers of three models. Neither is
used for an answer of ours; the golden files are compared with both rules.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from shared.features import CT_CLIP_LABELS, FVLM_LABELS, MEDNEXT_LABELS, make_feature_name
from shared.stages import StageName

_SPOKEN: Mapping[StageName, tuple[str, ...]] = {
    StageName.MEDNEXT: tuple(label for label in MEDNEXT_LABELS if "normal" not in label),
    StageName.FVLM: FVLM_LABELS,
    StageName.CT_CLIP: CT_CLIP_LABELS,
}


def fill_with_zero(vector: Mapping[str, float]) -> dict[str, float]:
    """Return the vector with 0.0 where nothing is known."""
    return {name: 0.0 if math.isnan(value) else value for name, value in vector.items()}


def list_top_pathologies(filled: Mapping[str, float]) -> list[str]:
    """Return the label of the largest number of MedNeXt, fVLM and CT-CLIP, each once. Ties: the first."""
    largest = (
        max(labels, key=lambda label: filled[make_feature_name(model, label)]) for model, labels in _SPOKEN.items()
    )
    return list(dict.fromkeys(_capitalise(label.replace("_", " ")) for label in largest))


def _capitalise(text: str) -> str:
    return text[:1].upper() + text[1:]
