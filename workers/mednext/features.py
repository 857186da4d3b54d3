"""The features that MedNeXt gives to the fusion."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from shared.features import MEDNEXT_LABELS, make_feature_name
from shared.stages import StageName


def name_features(labels: Sequence[str], probabilities: Sequence[float]) -> Mapping[str, float]:
    """Return `kolyan_<class>` -> probability, of the classes that the fusion weighs, `normal` included."""
    return {
        make_feature_name(StageName.MEDNEXT, label): float(value)
        for label, value in zip(labels, probabilities, strict=True)
        if label in MEDNEXT_LABELS
    }
