"""Calibration of the fusion's score: for each set of models that answered, a straight line in log-odds.

Platt, "Probabilistic Outputs for Support Vector Machines" (1999): probability = logistic(slope x score + intercept).
The slope is positive, so that what raises the score raises the probability.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Self

from shared.errors import Defect
from shared.json_values import JsonValue
from shared.stages import MODELS, StageName

_FIELDS = {"models", "slope", "intercept"}


@dataclass(frozen=True)
class CalibrationLine:
    """The line for the answers of exactly these models."""

    models: tuple[StageName, ...]
    slope: float
    intercept: float

    def apply(self, raw_score: float) -> float:
        """Return the calibrated score, in log-odds."""
        return self.slope * raw_score + self.intercept

    @classmethod
    def from_table(cls, table: object) -> Self:
        """Read one `[[calibration]]`, or its JSON form. Raises Defect that says what is wrong."""
        if not isinstance(table, Mapping) or set(table) != _FIELDS:
            raise Defect(f"calibration: every entry needs just {sorted(_FIELDS)}; write it as [[calibration]]")
        slope, intercept = (_parse_number(table[name], name) for name in ("slope", "intercept"))
        if not slope > 0:
            raise Defect(f"calibration: slope {slope} is not above 0")
        return cls(parse_models(table["models"], "calibration"), slope, intercept)

    def to_document(self) -> dict[str, JsonValue]:
        """Return the JSON form, which `from_table` reads."""
        return {
            "models": [str(model) for model in self.models],
            "slope": self.slope,
            "intercept": self.intercept,
        }


Calibration = tuple[CalibrationLine, ...]


def parse_calibration(tables: object) -> Calibration:
    """Return the lines of a list of tables. Raises Defect when one cannot be read or two are for the same models."""
    if not isinstance(tables, Sequence) or isinstance(tables, str):
        raise Defect("calibration: expected a list; write each entry as [[calibration]]")
    lines = tuple(CalibrationLine.from_table(table) for table in tables)
    if len({line.models for line in lines}) != len(lines):
        raise Defect("calibration: two entries are for the same models; keep one")
    return lines


def find_line(calibration: Calibration, models: Collection[StageName]) -> CalibrationLine | None:
    """Return the line for the answers of just these models; None where there is none."""
    return next((line for line in calibration if set(line.models) == set(models)), None)


def parse_models(names: object, field: str) -> tuple[StageName, ...]:
    """Return models by their names, in the order of `MODELS`. Raises Defect for another name, or one given twice."""
    known = {str(model): model for model in MODELS}
    if not isinstance(names, Sequence) or isinstance(names, str) or not all(str(name) in known for name in names):
        raise Defect(f"{field}: models must be a list of some of {sorted(known)}")
    said = [str(name) for name in names]
    if len(set(said)) != len(said):
        raise Defect(f"{field}: a model is named twice in {said}")
    return tuple(model for model in MODELS if str(model) in said)


def _parse_number(value: object, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise Defect(f"calibration: {name} must be a number")
    return float(value)
