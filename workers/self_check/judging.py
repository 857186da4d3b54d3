"""Whether a self-check passed: every model that was to answer did, and said what it said before. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

TOLERANCE = 0.01
"""Largest difference of a probability: what other arithmetic may make of it (`CTCLIP_PRECISION`)."""

PROBABILITY = "probability_of_pathology"

_SHOWN = 5

Numbers = Mapping[str, float]
"""The features of all models and the probability, by name."""


@dataclass(frozen=True)
class CheckedRun:
    """One self-check that ended: digests of weights by stage, policy, and the numbers."""

    weights: Mapping[str, str]
    policy_id: str
    numbers: Numbers


@dataclass(frozen=True)
class Verdict:
    """`failures` are codes with what was found; none means passed. `is_first`: nothing to compare with yet."""

    failures: tuple[str, ...]
    is_first: bool
    largest_difference: float | None

    @property
    def is_passed(self) -> bool:
        """Whether nothing failed."""
        return not self.failures


def judge_run(run: CheckedRun, stages: Iterable[str], expected: CheckedRun | None) -> Verdict:
    """Judge a run by the stages that must have answered, and by the first run of the same weights and policy."""
    silent = [f"no_answer: {stage}" for stage in sorted(set(stages) - set(run.weights))]
    if expected is None:
        return Verdict(tuple(silent), is_first=True, largest_difference=None)
    differences = compare_numbers(run.numbers, expected.numbers)
    beyond = {name: difference for name, difference in differences.items() if not difference <= TOLERANCE}
    worst = sorted(beyond, key=lambda name: -beyond[name])[:_SHOWN]
    told = [f"differs: {name} by {beyond[name]:.4f}" for name in worst]
    largest = max(differences.values(), default=0.0)
    return Verdict((*silent, *told), is_first=False, largest_difference=largest if math.isfinite(largest) else None)


def compare_numbers(numbers: Numbers, expected: Numbers) -> dict[str, float]:
    """Return the distance of each number; infinite where only one side has it."""
    return {
        name: abs(numbers[name] - expected[name]) if name in numbers and name in expected else math.inf
        for name in {**numbers, **expected}
    }
