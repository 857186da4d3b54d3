"""Everything that is told of one fine-tuning, as values: the report, the card and the JSON are written from it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from training.supervised.fitting import EpochReport
from training.supervised.measures import LabelReport, compute_macro_auc
from training.supervised.plan import FineTuningPlan
from training.supervised.table import Split


@dataclass(frozen=True)
class LeftOut:
    """A line of the table that nothing was learnt from or measured on, and the code that says why."""

    line: int
    split: Split
    problem: str
    detail: str


@dataclass(frozen=True)
class Outcome:
    """What was done with which studies, and what came of it.

    `untaught` are labels of the table that were not seen both ways in training, and that the weights do not have.
    `measured_on` is the split of `labels`; their thresholds were chosen on the validation studies.
    """

    name: str
    base: str
    encoder_digest: str
    licence: str
    command: str
    plan: FineTuningPlan
    least_specificity: float
    counts: Mapping[Split, int]
    groups: Mapping[Split, int]
    has_patients: bool
    has_splits: bool
    labels: Sequence[LabelReport]
    measured_on: Split
    untaught: Sequence[str]
    left_out: Sequence[LeftOut]
    history: Sequence[EpochReport]
    seconds: float

    @property
    def best_epoch(self) -> EpochReport:
        """The epoch whose weights were kept."""
        validated = [each for each in self.history if each.validation_loss == each.validation_loss]
        return min(validated, key=lambda each: each.validation_loss) if validated else self.history[-1]

    @property
    def doubts(self) -> list[str]:
        """What a reader of the figures must know, in sentences."""
        found = []
        if not self.has_patients:
            found.append(
                "The table names no patients: studies of one patient may be in more than one split, and figures then"
                " look better than they are."
            )
        if self.measured_on is not Split.HELD_OUT:
            found.append(
                f"There were no held-out studies: the figures are of the {self.measured_on} studies, which the weights"
                " were chosen by, and look better than they are."
            )
        if self.untaught:
            found.append(
                f"Not taught, because training never showed them both ways: {', '.join(self.untaught)}. The weights"
                " have no such outputs, and results declare them missing."
            )
        return found


def describe_outcome(outcome: Outcome) -> dict[str, Any]:
    """Return the outcome as JSON values; what is not known is null."""
    document = asdict(outcome)
    document["plan"] = outcome.plan.to_table()
    document["history"] = [_null_unknown(asdict(epoch)) for epoch in outcome.history]
    document["macro_auc"] = compute_macro_auc(outcome.labels)
    document["best_epoch"] = outcome.best_epoch.epoch
    document["doubts"] = outcome.doubts
    return document


def _null_unknown(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: None if isinstance(value, float) and math.isnan(value) else value for name, value in values.items()}
