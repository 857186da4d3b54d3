"""Canonical findings: one name for what several models call differently. `findings.toml` is the table."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from importlib import resources
from types import MappingProxyType
from typing import Any

from shared.features import FeatureGroup
from shared.stages import StageName


class FindingKind(StrEnum):
    """What a label says."""

    FINDING = "finding"
    UNSPECIFIC = "unspecific"
    NORMAL = "normal"


@dataclass(frozen=True)
class Code:
    """A code of a terminology, as its public source (DICOM PS3.16) has it. `scheme` is "SCT" or "DCM"."""

    scheme: str
    code: str
    meaning: str


@dataclass(frozen=True)
class Finding:
    """One canonical finding, with the label by which each model speaks of it.

    `labels` are features of the fusion. `unfused` are the labels of other published weights of the same models.
    """

    id: str
    name: str
    name_ru: str
    organ: str
    kind: FindingKind
    group: FeatureGroup | None
    labels: Mapping[StageName, str]
    unfused: Mapping[StageName, str]
    codes: tuple[Code, ...]

    def list_labels(self, model: StageName) -> tuple[str, ...]:
        """Return the labels by which a model may speak of the finding, what the fusion weighs first."""
        return tuple(labels[model] for labels in (self.labels, self.unfused) if model in labels)


def _parse_finding(row: Mapping[str, Any]) -> Finding:
    return Finding(
        id=row["id"],
        name=row["name"],
        name_ru=row["name_ru"],
        organ=row["organ"],
        kind=FindingKind(row.get("kind", FindingKind.FINDING)),
        group=FeatureGroup(row["group"]) if "group" in row else None,
        labels=_parse_labels(row["labels"]),
        unfused=_parse_labels(row.get("unfused", {})),
        codes=tuple(Code(**code) for code in row.get("codes", ())),
    )


def _parse_labels(table: Mapping[str, str]) -> Mapping[StageName, str]:
    return MappingProxyType({StageName(model): label for model, label in table.items()})


def _load_findings() -> tuple[Finding, ...]:
    table = resources.files("shared").joinpath("findings.toml").read_text(encoding="utf-8")
    return tuple(_parse_finding(row) for row in tomllib.loads(table)["finding"])


def _index_labels(findings: Iterable[Finding]) -> dict[tuple[StageName, str], Finding]:
    return {
        (model, label): finding
        for finding in findings
        for labels in (finding.labels, finding.unfused)
        for model, label in labels.items()
    }


FINDINGS: tuple[Finding, ...] = _load_findings()

FINDING_OF_LABEL: Mapping[tuple[StageName, str], Finding] = MappingProxyType(_index_labels(FINDINGS))
"""The finding that a label of a model speaks of, whether the fusion weighs it or not."""
