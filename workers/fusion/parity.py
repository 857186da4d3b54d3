"""Comparison of the feature vector and of the predecessor's rules with the golden files.

Layout of the folder: `features_golden.json` and `series_selection_golden.json`, as their README says.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from shared.features import FEATURE_NAMES, PREFIXES
from shared.stages import StageName
from workers.fusion.aggregates import compute_vector
from workers.fusion.predecessor import fill_with_zero, list_top_pathologies
from workers.intake.choice.predecessor import SeriesSummary, choose_like_predecessor
from workers.parity import ParityCheck

_TOLERANCE = 1e-12
_EXACT = 0.0

_INPUT_PREFIXES: Mapping[str, str] = {"mednext": PREFIXES[StageName.MEDNEXT], "fvlm": PREFIXES[StageName.FVLM]}
"""These two stand in the golden file under their bare labels; the others under feature names."""


def check_parity(golden: Path) -> Sequence[ParityCheck]:
    """Run the real code on both golden files."""
    document = json.loads((golden / "features_golden.json").read_text())
    cases = [(case, compute_vector(_read_features(case["inputs"]))) for case in document["cases"]]
    return (
        ParityCheck("names", _count_differences([(document["names"], list(FEATURE_NAMES))]), _EXACT),
        ParityCheck("native", _find_error((case["native"], vector) for case, vector in cases), _TOLERANCE),
        ParityCheck(
            "original", _find_error((case["original"], fill_with_zero(vector)) for case, vector in cases), _TOLERANCE
        ),
        ParityCheck(
            "original_top_pathologies",
            _count_differences(
                (case["original_top_pathologies"], list_top_pathologies(fill_with_zero(vector)))
                for case, vector in cases
            ),
            _EXACT,
        ),
        ParityCheck("series_selection", _count_differences(_list_choices(golden)), _EXACT),
    )


def _list_choices(golden: Path) -> list[tuple[str | None, str | None]]:
    """Return the series that each case chose beside the one that the predecessor's rule chooses."""
    cases = json.loads((golden / "series_selection_golden.json").read_text())
    return [(case["chosen"], choose_like_predecessor([_read_series(one) for one in case["series"]])) for case in cases]


def _read_series(series: Mapping[str, Any]) -> SeriesSummary:
    return SeriesSummary(series["uid"], series["kernel"], series["filter_type"], series["valid_slices"])


def _read_features(inputs: Mapping[str, Mapping[str, float] | None]) -> dict[str, float]:
    return {
        _INPUT_PREFIXES.get(model, "") + name: value
        for model, values in inputs.items()
        for name, value in (values or {}).items()
    }


def _find_error(pairs: Iterator[tuple[Sequence[float | None], Mapping[str, float]]]) -> float:
    """Return the largest error over all cases; infinite where one side is missing and the other is not."""
    return max(
        _compare(wanted, found)
        for expected, vector in pairs
        for wanted, found in zip(expected, vector.values(), strict=True)
    )


def _compare(expected: float | None, found: float) -> float:
    if expected is None or math.isnan(found):
        return 0.0 if expected is None and math.isnan(found) else math.inf
    return abs(found - expected)


def _count_differences(pairs: Iterator[tuple[Any, Any]] | Sequence[tuple[Any, Any]]) -> float:
    return float(sum(expected != found for expected, found in pairs))
