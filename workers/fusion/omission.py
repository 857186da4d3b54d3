"""What the answer would be without one of the models that gave it: the same booster, that model's features missing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from model_weights.policies import Policy
from shared.features import get_model
from shared.stages import StageName
from workers.fusion.aggregates import compute_vector
from workers.fusion.answers import Answers
from workers.fusion.booster import FusionBooster


@dataclass(frozen=True)
class Omission:
    """The answer without one model. `is_allowed`: whether the policy takes an answer of the models that are left."""

    probability: float
    is_pathological: bool
    is_allowed: bool


def compute_omissions(booster: FusionBooster, answers: Answers, policy: Policy) -> Mapping[StageName, Omission]:
    """Return the answer without each model that answered, as if its stage had failed."""
    return {model: _leave_out(model, booster, answers, policy) for model in answers.answered}


def _leave_out(model: StageName, booster: FusionBooster, answers: Answers, policy: Policy) -> Omission:
    features = {name: value for name, value in answers.features.items() if get_model(name) is not model}
    probability = booster.explain(compute_vector(features), policy.calibration).probability
    left = [other for other in answers.answered if other is not model]
    return Omission(probability, probability >= policy.threshold, policy.allows(left))
