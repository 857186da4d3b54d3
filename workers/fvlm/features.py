"""The features that fVLM gives to the fusion. Aggregates over findings are the fusion's own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from shared.features import FVLM_LABELS, make_feature_name
from shared.stages import StageName


def name_features(labels: Sequence[str], probabilities: Sequence[float]) -> Mapping[str, float]:
    """Return `okhr_<finding>` -> probability, NaN where the organ is missing, of the labels that the fusion weighs."""
    return {
        make_feature_name(StageName.FVLM, label): float(value)
        for label, value in zip(labels, probabilities, strict=True)
        if label in FVLM_LABELS
    }
