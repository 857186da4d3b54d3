"""The fusion's booster: LightGBM text and its description, loaded by digest, checked before it serves.

Ke et al., "LightGBM: A Highly Efficient Gradient Boosting Decision Tree" (2017). Attributions are its `pred_contrib`,
path-dependent TreeSHAP (Lundberg et al. 2018), in log-odds: base value and attributions add up to the raw score.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import lightgbm
import numpy as np
from numpy.typing import NDArray

from model_weights.catalogue import ModelEntry
from model_weights.policies import (
    Calibration,
    CalibrationLine,
    FindingThresholds,
    find_line,
    parse_calibration,
    parse_finding_thresholds,
)
from model_weights.verifying import read_description, read_verified
from shared.errors import Defect
from shared.features import FEATURE_NAMES, get_model
from shared.stages import MODELS, StageName

SUM_TOLERANCE = 1e-6
"""Largest distance of base value plus attributions from the raw score, in log-odds."""

_ANSWER_TOLERANCE = 1e-9


@dataclass(frozen=True)
class Explanation:
    """What the booster says of one vector. Scores and attributions are in log-odds.

    `probability` is that of the raw score by the line that calibrates the answers of the models in the vector; where
    there is no line, the logistic function of the raw score itself.
    """

    probability: float
    raw_score: float
    base_value: float
    attributions: Mapping[str, float]
    calibration: CalibrationLine | None = None


class FusionBooster:
    """A loaded booster with the names of its features, in its own order.

    `thresholds`: from what probability on each model stands for a finding; None where each model's own ones serve.
    """

    def __init__(
        self,
        text: str,
        features: Sequence[str],
        calibration: Calibration = (),
        thresholds: FindingThresholds | None = None,
    ) -> None:
        self._booster = _parse_booster(text)
        self.calibration = calibration
        self.thresholds = thresholds
        self.features = tuple(features)
        _require_features(self._booster.feature_name(), self.features)
        _require_native_missing_values(self._booster)

    @property
    def used_features(self) -> tuple[str, ...]:
        """The features that at least one tree splits on: the others never move the score."""
        splits = self._booster.feature_importance("split")
        return tuple(name for name, count in zip(self.features, splits, strict=True) if count)

    def choose_thresholds(self, of_the_policy: FindingThresholds | None) -> FindingThresholds | None:
        """Return the thresholds of a policy, which replace its own, else these; None where each model's own serve."""
        return self.thresholds if of_the_policy is None else of_the_policy

    def explain(self, vector: Mapping[str, float], calibration: Calibration | None = None) -> Explanation:
        """Score a vector of features by name; NaN is the booster's missing value. A calibration replaces its own.

        Raises Defect when base value and attributions do not add up to the raw score.
        """
        row = np.array([[vector[name] for name in self.features]], dtype=np.float64)  # (1, features)
        raw_score = float(self._predict(row, raw_score=True)[0])
        *attributions, base_value = map(float, self._predict(row, pred_contrib=True))
        error = abs(math.fsum((base_value, *attributions)) - raw_score)
        if not error <= SUM_TOLERANCE:
            raise Defect("fusion: base value and attributions do not add up to the raw score", error=error)
        line = find_line(self.calibration if calibration is None else calibration, list_answering(vector))
        return Explanation(
            probability=compute_probability(raw_score if line is None else line.apply(raw_score)),
            raw_score=raw_score,
            base_value=base_value,
            attributions=dict(zip(self.features, attributions, strict=True)),
            calibration=line,
        )

    def score(self, vectors: Sequence[Mapping[str, float]]) -> NDArray[np.float64]:
        """Return the raw scores of many vectors, in log-odds."""
        rows = np.array([[vector[name] for name in self.features] for vector in vectors], dtype=np.float64)
        return self._predict(rows, raw_score=True)

    def _predict(self, row: NDArray[np.float64], **options: bool) -> NDArray[np.float64]:
        # One thread: a single row gains nothing from more, and sums keep their order.
        return np.asarray(self._booster.predict(row, num_threads=1, **options)).ravel()


def list_answering(vector: Mapping[str, float]) -> tuple[StageName, ...]:
    """Return the models that have a value in a vector, in the order of `MODELS`."""
    present = {get_model(name) for name, value in vector.items() if not math.isnan(value)}
    return tuple(model for model in MODELS if model in present)


def compute_probability(raw_score: float) -> float:
    """Return the logistic function of a score in log-odds, without overflow."""
    if raw_score >= 0:
        return 1 / (1 + math.exp(-raw_score))
    return math.exp(raw_score) / (1 + math.exp(raw_score))


def load_booster(entry: ModelEntry) -> FusionBooster:
    """Load the booster of a catalogue entry and hold it to its known answers. Raises Defect when anything differs."""
    description = read_description(entry.get_file("description"))
    text = read_verified(entry.get_file("booster")).decode()
    features, answers = description.get("features"), description.get("known_answers")
    if not isinstance(features, list) or not isinstance(answers, list) or not answers:
        raise Defect("the description of the fusion needs `features` and `known_answers`")
    calibration = parse_calibration(description.get("calibration", []))
    booster = FusionBooster(text, features, calibration, _read_thresholds(description))
    for answer in answers:
        _require_answer(booster, answer)
    return booster


def _read_thresholds(description: Mapping[str, Any]) -> FindingThresholds | None:
    tables = description.get("policy_defaults", {}).get("finding_thresholds")
    return None if tables is None else parse_finding_thresholds(tables)


def make_known_answer(booster: FusionBooster, vector: Mapping[str, float]) -> dict[str, object]:
    """Return one entry of `known_answers`: the vector without its missing values, and the raw score."""
    known = {name: vector[name] for name in booster.features if not math.isnan(vector[name])}
    return {"features": known, "raw_score": booster.explain(vector).raw_score}


def to_booster_name(feature: str) -> str:
    """Return a feature's name as it stands in LightGBM's text, which allows no blanks."""
    return feature.replace(" ", "_")


def _require_answer(booster: FusionBooster, answer: Mapping[str, Any]) -> None:
    vector = dict.fromkeys(FEATURE_NAMES, math.nan) | answer["features"]
    found = booster.explain(vector).raw_score
    if not abs(found - answer["raw_score"]) <= _ANSWER_TOLERANCE:
        raise Defect("the fusion does not give its known answer", expected=answer["raw_score"], found=found)


def _parse_booster(text: str) -> lightgbm.Booster:
    try:
        return lightgbm.Booster(model_str=text)
    except lightgbm.basic.LightGBMError as error:
        raise Defect("the booster is not a LightGBM text") from error


def _require_features(found: Sequence[str], described: Sequence[str]) -> None:
    if found != [to_booster_name(name) for name in described]:
        raise Defect("the booster's features are not those of its description")
    unknown = [name for name in described if name not in FEATURE_NAMES]
    if unknown:
        raise Defect(f"the booster asks for features that nothing computes: {unknown}")


def _require_native_missing_values(booster: lightgbm.Booster) -> None:
    """Refuse a booster that would read a missing value as 0.0.

    LightGBM decides this in training: a feature that was never missing there gets splits of missing type "None",
    and those take NaN for zero.
    """
    names = booster.feature_name()
    for node in (
        node for tree in booster.dump_model()["tree_info"] for node in _iterate_splits(tree["tree_structure"])
    ):
        if node["missing_type"] != "NaN":
            raise Defect(f"the booster reads a missing {names[node['split_feature']]} as zero; train it with gaps")


def _iterate_splits(node: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    if "split_feature" in node:
        yield node
        yield from _iterate_splits(node["left_child"])
        yield from _iterate_splits(node["right_child"])
