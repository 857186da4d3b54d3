"""Prometheus on the running platform: what panels and alerts ask for is there.

The program comes from Debian (`apt-get install prometheus`). Without it the names are looked for in what the processes
tell; only the questions to Prometheus itself are left out then.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from deploy.embedded.monitoring import GATEWAY_JOB, WORKERS_JOB
from deploy.embedded.ports import LOOPBACK, assign_ports
from deploy.embedded.state_folder import read_json
from shared.stages import STAGES
from tests.deploy.monitoring_files import list_queries, read_rules
from tests.stack.running import RunningStack, wait_until
from workers.runtime.celery_app import name_task

pytestmark = pytest.mark.stack

PROMETHEUS = shutil.which("prometheus")
OF_PROMETHEUS = {"up", "ALERTS"}
# Told once there are studies enough to measure it on.
MEASURED_LATER = {"ctclip_feature_drift_psi"}
PROCESSES = {"gateway", "control", "worker-intake", "worker-models", "worker-fusion", "worker-delivery"}


# For the session: classes of this module may run apart.
@pytest.fixture(scope="session")
def configuration(stack: RunningStack, phantom_zip: Path) -> dict[str, Any]:
    """What `ctclip up` wrote for Prometheus, after a study went through."""
    stack.wait_for_end(stack.submit(phantom_zip, models="mednext"))
    written: dict[str, Any] = json.loads((stack.state / "prometheus.yml").read_text())
    return written


def list_targets(configuration: dict[str, Any]) -> dict[str, str]:
    """Return the address of each process."""
    groups = [group for job in configuration["scrape_configs"] for group in job["static_configs"]]
    return {group["labels"]["process"]: group["targets"][0] for group in groups}


def list_told(configuration: dict[str, Any]) -> set[str]:
    """Return the names of all series that have a value in some process."""
    pages = [httpx.get(f"http://{address}/metrics").text for address in list_targets(configuration).values()]
    return {
        sample.name for page in pages for family in text_string_to_metric_families(page) for sample in family.samples
    }


class TestTheProcesses:
    def test_are_all_named(self, configuration: dict[str, Any]) -> None:
        assert {job["job_name"] for job in configuration["scrape_configs"]} == {GATEWAY_JOB, WORKERS_JOB}
        assert set(list_targets(configuration)) == PROCESSES

    def test_tell_every_metric_that_panels_and_rules_name(self, configuration: dict[str, Any]) -> None:
        told = (
            list_told(configuration)
            | OF_PROMETHEUS
            | MEASURED_LATER
            | {rule["record"] for rule in read_rules() if "record" in rule}
        )
        missing = {query.place: query.list_names() - told for query in list_queries()}
        assert not {place: names for place, names in missing.items() if names}


class TestFlower:
    def test_tells_the_stages_apart_by_the_names_of_their_tasks(
        self, stack: RunningStack, configuration: dict[str, Any]
    ) -> None:
        secrets = read_json(stack.state / "secrets.json") or {}
        login = (str(secrets["flower_user"]), str(secrets["flower_password"]))
        tasks = httpx.get(f"{stack.description['flower_url']}/api/tasks?limit=1000", auth=login, timeout=30).json()
        names = {task["name"] for task in tasks.values()}
        assert {"ctclip.intake", "ctclip.mednext", "ctclip.fusion"} <= names <= set(map(name_task, STAGES))


@contextmanager
def running_prometheus(configuration: dict[str, Any], folder: Path) -> Iterator[httpx.Client]:
    """Run Prometheus on what `ctclip up` wrote, asking every second."""
    assert PROMETHEUS is not None
    file = folder / "prometheus.yml"
    often = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    file.write_text(json.dumps({**configuration, "global": often}))
    address = f"{LOOPBACK}:{assign_ports(['prometheus'], {})['prometheus']}"
    command = [PROMETHEUS, f"--config.file={file}", f"--web.listen-address={address}", "--log.level=warn"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([*command, f"--storage.tsdb.path={folder / 'data'}"], stdout=log, stderr=log)
        try:
            with httpx.Client(base_url=f"http://{address}/api/v1", timeout=30) as client:
                yield client
        finally:
            process.terminate()
            process.wait(30)


def ask(prometheus: httpx.Client, expression: str) -> list[dict[str, Any]]:
    answer = prometheus.get("/query", params={"query": expression})
    assert answer.is_success, answer.text
    found: list[dict[str, Any]] = answer.json()["data"]["result"]
    return found


def is_scraped(prometheus: httpx.Client) -> bool:
    """Say whether every process was asked often enough for a rate, and every rule evaluated after that."""
    try:
        if not prometheus.get("/status/runtimeinfo").is_success:  # it still gets ready
            return False
        asked = ask(prometheus, 'min(count_over_time(up{job=~"ctclip-.+"}[1m])) > 3')
        evaluated = ask(prometheus, "count_over_time(process:ctclip_up:min[1m]) > 3")
    except httpx.TransportError:
        return False
    return bool(asked) and len(evaluated) == len(PROCESSES)


@pytest.mark.skipif(PROMETHEUS is None, reason="Prometheus is not installed: apt-get install prometheus")
class TestPrometheus:
    def test_has_an_answer_for_every_panel_and_every_alert(self, configuration: dict[str, Any], tmp_path: Path) -> None:
        with running_prometheus(configuration, tmp_path) as prometheus:
            wait_until(lambda: is_scraped(prometheus), "Prometheus has asked everybody", 60)
            silent = [query for query in list_queries() if not ask(prometheus, query.expression)]
            states = {rule["metric"]["process"]: rule["value"][1] for rule in ask(prometheus, "process:ctclip_up:min")}
            health = [
                (rule["name"], rule["health"], rule.get("lastError"))
                for group in prometheus.get("/rules").json()["data"]["groups"]
                for rule in group["rules"]
            ]
        assert not silent
        assert states == dict.fromkeys(PROCESSES, "1")
        assert not [rule for rule in health if rule[1] != "ok"]
