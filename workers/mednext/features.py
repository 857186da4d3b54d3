"""The features that MedNeXt gives to the fusion."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

PREFIX = "kolyan_"
"""Name of the model in the predecessor's feature list, which the fusion's weights go by."""


def name_features(labels: Sequence[str], probabilities: Sequence[float]) -> Mapping[str, float]:
    """Return `kolyan_<class>` -> probability, for every class of the weights, `normal` included."""
    return {f"{PREFIX}{label}": float(value) for label, value in zip(labels, probabilities, strict=True)}
