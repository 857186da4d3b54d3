"""What `deploy/monitoring` says, read for tests: queries of dashboards and rules, and the metrics that they name."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import promql_parser
import yaml

from tests.conftest import ROOT

MONITORING = ROOT / "deploy" / "monitoring"
RULES = MONITORING / "rules.yml"
DASHBOARDS = sorted((MONITORING / "grafana" / "dashboards").glob("*.json"))

_OF_GRAFANA = {"$__rate_interval": "1m"}


@dataclass(frozen=True)
class Query:
    """A query, and where it stands."""

    place: str
    expression: str

    def list_names(self) -> set[str]:
        """Return the names of all series that it reads. Raises ValueError when it is no PromQL."""
        return set(_iterate_names(promql_parser.parse(self.expression)))


def read_rules() -> list[dict[str, Any]]:
    """Return every rule: those that record and those that alert."""
    return [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]


def read_dashboards() -> list[dict[str, Any]]:
    """Return every dashboard."""
    return [json.loads(path.read_text()) for path in DASHBOARDS]


def list_queries() -> list[Query]:
    """Return what panels ask, what rules record, and the left side of what each alert compares."""
    return [*_of_panels(), *_of_rules()]


def split_alert(expression: str) -> tuple[str, str, float]:
    """Return the series, the comparison and the number of an alert. Raises ValueError when it is anything else."""
    match = re.fullmatch(r"([a-z_:0-9A-Z]+) (<|>|==|!=) ([0-9.]+)", expression.strip())
    if match is None:
        raise ValueError(f"no comparison of one recorded series with a number: {expression}")
    return match[1], match[2], float(match[3])


def _of_panels() -> Iterator[Query]:
    for dashboard in read_dashboards():
        for panel in dashboard["panels"]:
            for target in panel["targets"]:
                expression = target["expr"]
                for word, meaning in _OF_GRAFANA.items():
                    expression = expression.replace(word, meaning)
                yield Query(f"{dashboard['title']}, {panel['title']}", expression)


def _of_rules() -> Iterator[Query]:
    for rule in read_rules():
        if "record" in rule:
            yield Query(rule["record"], rule["expr"])
        else:
            yield Query(rule["alert"], split_alert(rule["expr"])[0])


def _iterate_names(node: object) -> Iterator[str]:
    """Yield the names of selectors below a node of the parsed query."""
    if isinstance(node, promql_parser.VectorSelector):
        yield str(node.name)
    for part in ("vector_selector", "lhs", "rhs", "expr"):
        if (below := getattr(node, part, None)) is not None:
            yield from _iterate_names(below)
    for argument in getattr(node, "args", ()):
        yield from _iterate_names(argument)
