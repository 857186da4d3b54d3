"""The features that CT-CLIP gives to the fusion. Aggregates over findings and groups are the fusion's own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from shared.features import CT_CLIP_LABELS, make_feature_name
from shared.stages import StageName


def name_features(labels: Sequence[str], probabilities: Sequence[float]) -> Mapping[str, float]:
    """Return `ctclip_<finding>` -> how probable it is, for those findings of the weights that the fusion weighs."""
    return {
        make_feature_name(StageName.CT_CLIP, label): float(value)
        for label, value in zip(labels, probabilities, strict=True)
        if label in CT_CLIP_LABELS
    }
