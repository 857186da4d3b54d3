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
    is_allowed = len(answers.answered) - 1 >= policy.minimum_models
    return {
        model: _judge(_score_without(booster, answers, model), policy, is_allowed=is_allowed)
        for model in answers.answered
    }


def _score_without(booster: FusionBooster, answers: Answers, model: StageName) -> float:
    others = {name: value for name, value in answers.features.items() if get_model(name) is not model}
    return booster.explain(compute_vector(others)).probability


def _judge(probability: float, policy: Policy, *, is_allowed: bool) -> Omission:
    return Omission(probability, probability >= policy.threshold, is_allowed)
