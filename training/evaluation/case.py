"""One study of an evaluation: what the models really gave of it, and what is known to be true."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from shared.findings import FINDING_OF_LABEL
from shared.stages import StageName
from workers.drift.scan import Scan


@dataclass(frozen=True)
class Case:
    """One study. `number`: seed of a phantom, or line of a table.

    `truth`: ids of the findings that are there; `unknown`: of those that nobody looked for. `setting` names the scanner
    of a phantom. `digest` is that of the files of a study of a table. `seconds` are what making and asking took, where
    that is known.
    """

    number: int
    features: Mapping[str, float]
    truth: frozenset[str]
    is_pathological: bool
    unknown: frozenset[str] = frozenset()
    scan: Scan = field(default_factory=Scan)
    setting: str | None = None
    digest: str | None = None
    seconds: float | None = field(default=None, compare=False)


@dataclass(frozen=True)
class LeftOut:
    """A line of the table that was not measured, and why: a problem code as an upload would get, or `no_truth`."""

    line: int
    code: str
    detail: str


def name_findings(drawn: tuple[str, ...]) -> frozenset[str]:
    """Return the ids of the findings that a phantom has; it calls them as MedNeXt does."""
    return frozenset(FINDING_OF_LABEL[StageName.MEDNEXT, name].id for name in drawn)
