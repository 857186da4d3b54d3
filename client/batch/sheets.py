"""The sheets of a batch: which columns in which order. Pure: outcomes -> tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from client.batch.outcomes import PROBABILITY, Outcome, Row


@dataclass(frozen=True)
class Column:
    """A column, and what its values are."""

    name: str
    kind: type[str | int | float | bool] = str


@dataclass(frozen=True)
class Sheet:
    """A table: values that are missing are empty."""

    name: str
    columns: Sequence[Column]
    rows: Sequence[Row]


CONTRACT = (
    Column("path_to_study"),
    Column("study_uid"),
    Column("series_uid"),
    Column("probability_of_pathology", float),
    Column("pathology", int),
    Column("processing_status"),
    Column("time_of_processing", float),
    Column("most_dangerous_pathology_type"),
)
"""The columns that readers of the sheet rely on: these, in this order, first."""

STUDIES = (
    *CONTRACT,
    Column("state"),
    Column("problem_code"),
    Column("problem"),
    Column("job_id"),
    Column("threshold", float),
    Column("policy_id"),
    Column("models_answered", int),
    Column("models_expected", int),
    Column("models_missing"),
    Column("warnings"),
    Column("weights_profile"),
    Column("reused_from"),
    Column("created_at"),
    Column("finished_at"),
    Column("size_bytes", int),
)
FINDINGS = (
    Column("path_to_study"),
    Column("study_uid"),
    Column("job_id"),
    Column("finding"),
    Column("name"),
    Column("organ"),
    Column("attribution", float),
    Column("above_threshold", bool),
)
PROBLEMS = tuple(map(Column, ("path_to_study", "job_id", "kind", "code", "title", "detail", "advice")))


def make_sheets(outcomes: Sequence[Outcome]) -> tuple[Sheet, Sheet, Sheet]:
    """Return the sheets `studies`, `findings` and `problems`, in the order of the outcomes."""
    findings = [row for outcome in outcomes for row in outcome.findings]
    models = dict.fromkeys(name for row in findings for name in row if name.startswith(PROBABILITY))
    return (
        Sheet("studies", STUDIES, [outcome.row for outcome in outcomes]),
        Sheet("findings", (*FINDINGS, *(Column(name, float) for name in models)), findings),
        Sheet("problems", PROBLEMS, [row for outcome in outcomes for row in outcome.problems]),
    )
