"""`deploy/monitoring`: queries are PromQL, alerts are explained, dashboards are such as Grafana loads."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from grafana_foundation_sdk.cog import plugins
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard

from deploy.embedded.monitoring import GATEWAY_JOB, WORKERS_JOB
from tests.conftest import ROOT
from tests.deploy.monitoring_files import (
    MONITORING,
    RULES,
    Query,
    list_queries,
    read_dashboards,
    read_rules,
    split_alert,
)

PROMTOOL = shutil.which("promtool")
ALERTS = {rule["alert"]: rule for rule in read_rules() if "alert" in rule}
RECORDED = {rule["record"] for rule in read_rules() if "record" in rule}
OPERATIONS = (ROOT / "docs" / "OPERATIONS.md").read_text("utf-8")
SOURCE = yaml.safe_load((MONITORING / "grafana" / "provisioning" / "datasources" / "prometheus.yml").read_text())
WIDTH = 24


class TestQueries:
    @pytest.mark.parametrize("query", list_queries(), ids=lambda query: query.place)
    def test_are_promql_that_reads_something(self, query: Query) -> None:
        assert query.list_names()


class TestAlerts:
    @pytest.mark.parametrize("name", ALERTS)
    def test_compare_a_recorded_series_with_a_number(self, name: str) -> None:
        series, _, _ = split_alert(ALERTS[name]["expr"])
        assert series in RECORDED

    @pytest.mark.parametrize("name", ALERTS)
    def test_say_how_bad_it_is_and_lead_to_what_to_do(self, name: str) -> None:
        rule = ALERTS[name]
        assert rule["labels"]["severity"] in {"critical", "warning", "info"}
        assert rule["annotations"]["summary"]
        assert rule["annotations"]["runbook"] == f"docs/OPERATIONS.md#{name.lower()}"

    def test_are_explained_one_for_one(self) -> None:
        assert re.findall(r"^### (Ctclip\w+)$", OPERATIONS, re.MULTILINE) == list(ALERTS)


def find_lost(given: object, kept: object, place: str = "") -> Iterator[str]:
    """Yield the place of every key that is not kept."""
    if isinstance(given, dict):
        for key, value in given.items():
            if not isinstance(kept, dict) or key not in kept:
                yield f"{place}/{key}"
            else:
                yield from find_lost(value, kept[key], f"{place}/{key}")
    elif isinstance(given, list) and isinstance(kept, list):
        for number, (one, other) in enumerate(zip(given, kept, strict=True)):
            yield from find_lost(one, other, f"{place}/{number}")


def read_as_grafana(dashboard: dict[str, Any]) -> object:
    """Return what is left of a dashboard once Grafana's own schema has read it."""
    plugins.register_default_plugins()
    return json.loads(json.dumps(Dashboard.from_json(dashboard), cls=JSONEncoder))


class TestDashboards:
    @pytest.mark.parametrize("dashboard", read_dashboards(), ids=lambda dashboard: str(dashboard["uid"]))
    def test_are_such_as_grafana_knows_to_the_last_key(self, dashboard: dict[str, Any]) -> None:
        assert not list(find_lost(dashboard, read_as_grafana(dashboard)))

    def test_with_a_key_that_grafana_does_not_know_are_noticed(self) -> None:
        dashboard = read_dashboards()[0]
        dashboard["panels"][0]["targets"][0]["expression"] = "up"
        assert list(find_lost(dashboard, read_as_grafana(dashboard))) == ["/panels/0/targets/0/expression"]

    @pytest.mark.parametrize("dashboard", read_dashboards(), ids=lambda dashboard: str(dashboard["uid"]))
    def test_have_panels_with_a_place_of_their_own_and_our_source(self, dashboard: dict[str, Any]) -> None:
        panels = dashboard["panels"]
        assert len({panel["id"] for panel in panels}) == len(panels)
        (source,) = {target["datasource"]["uid"] for panel in panels for target in panel["targets"]}
        assert source == SOURCE["datasources"][0]["uid"]
        taken: set[tuple[int, int]] = set()
        for panel in panels:
            place = panel["gridPos"]
            assert place["x"] + place["w"] <= WIDTH
            cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
            assert not cells & taken, panel["title"]
            taken |= cells

    def test_have_names_of_their_own_and_a_version_of_grafanas(self) -> None:
        dashboards = read_dashboards()
        assert len({dashboard["uid"] for dashboard in dashboards}) == len(dashboards) >= 3
        assert all(dashboard["schemaVersion"] >= 36 for dashboard in dashboards)  # Grafana 9 and later


class TestPrometheusItself:
    def test_knows_the_jobs_that_an_embedded_stack_has(self) -> None:
        configuration = yaml.safe_load((MONITORING / "prometheus.yml").read_text())
        assert {job["job_name"] for job in configuration["scrape_configs"]} == {GATEWAY_JOB, WORKERS_JOB}
        assert configuration["rule_files"] == [RULES.name]

    def test_misses_every_process_that_it_looks_up(self) -> None:
        """Control is missed by an alert of its own."""
        configuration = yaml.safe_load((MONITORING / "prometheus.yml").read_text())
        looked_up = {name for job in configuration["scrape_configs"] for name in job["dns_sd_configs"][0]["names"]}
        (rule,) = [rule["expr"] for rule in read_rules() if rule.get("record") == "process:ctclip_up:absent"]
        one_by_one = set(re.findall(r'process="([\w-]+)"', rule))
        (together,) = re.findall(r'process=~"worker-\(([\w|-]+)\)"', rule)
        models = {f"worker-{name}" for name in together.split("|")}
        assert one_by_one | models | {"control"} == looked_up

    @pytest.mark.skipif(PROMTOOL is None, reason="promtool is not installed: apt-get install prometheus")
    def test_takes_the_rules_and_calls_when_it_should(self) -> None:
        assert PROMTOOL is not None
        for arguments in (
            ("check", "rules", str(RULES)),
            ("test", "rules", str(Path(__file__).with_name("alerts.yml"))),
            ("test", "rules", str(Path(__file__).with_name("alerts_of_days.yml"))),
            ("check", "config", "--syntax-only", str(MONITORING / "prometheus.yml")),
        ):
            checked = subprocess.run([PROMTOOL, *arguments], capture_output=True, text=True, timeout=60, check=False)
            assert checked.returncode == 0, checked.stdout + checked.stderr
