"""`deploy/monitoring`: queries are PromQL, alerts are explained, dashboards are such as Grafana loads."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

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


class TestDashboards:
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

    @pytest.mark.skipif(PROMTOOL is None, reason="promtool is not installed: apt-get install prometheus")
    def test_takes_the_rules_and_calls_when_it_should(self) -> None:
        assert PROMTOOL is not None
        for arguments in (
            ("check", "rules", str(RULES)),
            ("test", "rules", str(Path(__file__).with_name("alerts.yml"))),
        ):
            checked = subprocess.run([PROMTOOL, *arguments], capture_output=True, text=True, timeout=60, check=False)
            assert checked.returncode == 0, checked.stdout + checked.stderr
