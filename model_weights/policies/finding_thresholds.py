"""Evidence thresholds by model and label: from what probability on a model stands for a finding."""

from __future__ import annotations

from collections.abc import Mapping

from shared.errors import Defect
from shared.features import LABELS
from shared.stages import StageName

KEY = "finding_thresholds"

FindingThresholds = Mapping[StageName, Mapping[str, float]]
"""A label without a threshold is no evidence, however probable its finding is."""


def parse_finding_thresholds(tables: object) -> FindingThresholds:
    """Return the thresholds of a table of tables, `{model: {label: probability}}`. Raises Defect."""
    if not isinstance(tables, Mapping):
        raise Defect(f"{KEY}: expected a table for each model; write it as [{KEY}.mednext]")
    known = {str(model): model for model in LABELS}
    unknown = sorted(str(name) for name in tables if name not in known)
    if unknown:
        raise Defect(f"{KEY}: {unknown} have no labels; models that have are {sorted(known)}")
    return {known[name]: _parse_table(known[name], table) for name, table in tables.items()}


def to_document(thresholds: FindingThresholds) -> dict[str, dict[str, float]]:
    """Return the JSON form, which `parse_finding_thresholds` reads."""
    return {str(model): dict(table) for model, table in thresholds.items()}


def _parse_table(model: StageName, table: object) -> dict[str, float]:
    if not isinstance(table, Mapping):
        raise Defect(f"{KEY}.{model}: expected labels and their probabilities")
    unknown = sorted(str(label) for label in table if label not in LABELS[model])
    if unknown:
        raise Defect(f"{KEY}.{model}: {unknown} are no labels of this model: write them as in its model card")
    for label, threshold in table.items():
        if type(threshold) not in (int, float) or not 0 < threshold < 1:
            raise Defect(f"{KEY}.{model}: {label!r} is {threshold!r}, which is not between 0 and 1")
    return {label: float(threshold) for label, threshold in table.items()}
