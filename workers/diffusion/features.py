"""The features that the diffusion detector gives to the fusion, and the statistics that they are."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from shared.features import DIFFUSION_FEATURES, PREFIXES, make_feature_name
from shared.stages import StageName

LABELS: tuple[str, ...] = tuple(name.removeprefix(PREFIXES[StageName.DIFFUSION]) for name in DIFFUSION_FEATURES)
"""What the detector's numbers are called: three of the classifier's, then three of the reconstruction's."""

NOT_RUN = (math.nan,) * 3
"""The statistics of what was not looked at."""

_LARGEST = 1e6


def name_features(labels: Sequence[str], values: Sequence[float]) -> Mapping[str, float]:
    """Return `diffusion_<label>` -> value, for every label whose value is known."""
    named = {
        make_feature_name(StageName.DIFFUSION, label): float(value) for label, value in zip(labels, values, strict=True)
    }
    return {name: value for name, value in named.items() if not math.isnan(value)}


def summarise(values: Tensor) -> tuple[float, float, float]:
    """Return mean, largest and spread (of the population) of one number for each slice, in float32."""
    each = values.float()
    return float(each.mean()), float(each.max()), float(each.std(correction=0))


def hide_faults(errors: Tensor) -> Tensor:
    """Return slice errors as the predecessor took them: 0 for what is not a number, a million for infinity."""
    return torch.nan_to_num(errors, nan=0.0, posinf=_LARGEST, neginf=-_LARGEST)
