"""Fits the fusion's booster: small, regularised, monotone, and used to missing models."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Self

import lightgbm
import numpy as np

from model_weights.policies import Calibration, FindingThresholds
from shared.features import FEATURE_NAMES, get_model
from shared.stages import StageName
from workers.fusion.booster import FusionBooster, to_booster_name

_UNORDERED_ENDINGS = ("_std", "_std_probability")


@dataclass(frozen=True)
class BoosterSettings:
    """Capacity and regularisation; small because the studies are few."""

    trees: int = 120
    leaves: int = 4
    learning_rate: float = 0.06
    smallest_leaf: int = 20
    l2: float = 2.0
    feature_fraction: float = 0.6
    seed: int = 20260101


@dataclass(frozen=True)
class FittedBooster:
    """A booster as it is shipped (LightGBM text) and as it serves."""

    text: str
    booster: FusionBooster

    def complete(self, calibration: Calibration, thresholds: FindingThresholds) -> Self:
        """Return the same booster with the lines that calibrate it, and with what counts as evidence beside it."""
        return replace(self, booster=FusionBooster(self.text, self.booster.features, calibration, thresholds))


def fit_booster(
    vectors: Sequence[Mapping[str, float]],
    labels: Sequence[int],
    settings: BoosterSettings,
    *,
    used: Collection[str] = FEATURE_NAMES,
    features: Sequence[str] = FEATURE_NAMES,
) -> FittedBooster:
    """Fit on whole feature vectors; NaN is missing. Features that are not `used` never move the score.

    Raises Defect when a feature that moves it was never missing.
    """
    is_unused = [name not in used for name in features]
    matrix = np.array([[vector[name] for name in features] for vector in vectors])  # (studies, features)
    matrix[:, is_unused] = np.nan
    dataset = lightgbm.Dataset(
        matrix, label=np.array(labels), feature_name=[to_booster_name(name) for name in features]
    )
    trained = lightgbm.train(_make_parameters(settings, features), dataset, num_boost_round=settings.trees)
    text = trained.model_to_string()
    return FittedBooster(text, FusionBooster(text, features))


def choose_direction(feature: str) -> int:
    """Return the direction in which a feature may move the score: 1 up, -1 down, 0 either.

    A more probable finding must never make pathology less probable, nor a more probable "normal" more so. Spreads
    and reconstruction errors have no such meaning.
    """
    if feature.endswith("_normal"):
        return -1
    if feature.endswith(_UNORDERED_ENDINGS) or feature.startswith("diffusion_reconstruction"):
        return 0
    return 1


def drop_models(
    features: Mapping[str, float], models: Sequence[StageName], *, rate: float, generator: np.random.Generator
) -> dict[str, float]:
    """Return the features without those of some whole models, each left out with probability `rate`."""
    dropped = {model for model in models if generator.random() < rate}
    return {name: value for name, value in features.items() if get_model(name) not in dropped}


def _make_parameters(settings: BoosterSettings, features: Sequence[str]) -> dict[str, object]:
    return {
        "objective": "binary",
        "num_leaves": settings.leaves,
        "learning_rate": settings.learning_rate,
        "min_data_in_leaf": settings.smallest_leaf,
        "lambda_l2": settings.l2,
        "feature_fraction": settings.feature_fraction,
        "monotone_constraints": [choose_direction(name) for name in features],
        "monotone_constraints_method": "advanced",
        "use_missing": True,
        "zero_as_missing": False,
        "deterministic": True,
        "force_row_wise": True,
        "num_threads": 1,
        "seed": settings.seed,
        "verbosity": -1,
    }
