"""The features that the supervised classifier gives to the fusion."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from shared.features import SUPERVISED_LABELS, make_feature_name
from shared.stages import StageName


def name_features(labels: Sequence[str], probabilities: Sequence[float]) -> Mapping[str, float]:
    """Return `supervised_<label>` -> probability, for those labels of the weights that the fusion weighs."""
    return {
        make_feature_name(StageName.SUPERVISED, label): float(value)
        for label, value in zip(labels, probabilities, strict=True)
        if label in SUPERVISED_LABELS
    }
