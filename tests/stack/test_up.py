"""`ctclip up`, `status` and `down` as a user runs them."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from deploy.embedded.state_folder import read_json
from tests.stack.running import RunningStack, run_ctclip, wait_until

PROCESSES = {
    *("postgres", "broker", "storage", "gateway", "control", "flower", "launcher"),
    *("worker-intake", "worker-models", "worker-fusion", "worker-delivery"),
}
# The promise is five seconds on an idle machine; a test must hold on a busy one.
BACK_WITHIN_S = 60.0

pytestmark = pytest.mark.stack


class TestDescription:
    def test_has_the_fields_of_the_public_seam(self, stack: RunningStack) -> None:
        described = stack.description
        assert described["api_key"] is None
        assert Path(described["state"]) == stack.state.resolve()
        assert set(described["pids"]) == PROCESSES

    def test_names_processes_that_run(self, stack: RunningStack) -> None:
        status = json.loads(run_ctclip("status", "--json", "--state", str(stack.state)).stdout)
        assert set(status["pids"]) == PROCESSES
        assert all(psutil.pid_exists(pid) for pid in status["pids"].values())

    def test_is_that_of_status_too(self, stack: RunningStack) -> None:
        status = run_ctclip("status", "--json", "--state", str(stack.state))
        assert status.returncode == 0
        told = json.loads(status.stdout)
        assert {"url", "flower_url", "api_key", "state", "pids"} <= told.keys()
        assert (told["url"], told["flower_url"]) == (stack.url, stack.description["flower_url"])

    def test_leads_to_a_ready_gateway_with_a_docs_page(self, stack: RunningStack) -> None:
        assert stack.http.get("/readyz").status_code == 200
        assert stack.http.get("/health").json() == {"status": "healthy"}
        assert stack.http.get("/docs").status_code == 200

    def test_leads_to_flower_behind_its_password(self, stack: RunningStack) -> None:
        url = stack.description["flower_url"]
        secrets = read_json(stack.state / "secrets.json")
        assert secrets is not None
        assert httpx.get(f"{url}/api/workers").status_code == 401
        login = (str(secrets["flower_user"]), str(secrets["flower_password"]))
        wait_until(lambda: httpx.get(f"{url}/", auth=login).status_code == 200, "Flower lets its user in")

    def test_says_that_nothing_runs_elsewhere(self, tmp_path: Path) -> None:
        status = run_ctclip("status", "--json", "--state", str(tmp_path))
        assert status.returncode == 3
        assert json.loads(status.stdout)["pids"] == {}


class TestSecondUp:
    @pytest.mark.parametrize("how", [(), ("--detach",)])
    def test_says_where_the_running_one_is(self, stack: RunningStack, how: tuple[str, ...]) -> None:
        second = run_ctclip("up", *how, "--json", "--state", str(stack.state))
        assert second.returncode == 0
        described = json.loads(second.stdout)
        assert described["url"] == stack.url
        assert described["pids"]["launcher"] == stack.pid("launcher")


class TestKilledProcess:
    @pytest.mark.parametrize("name", sorted(PROCESSES - {"launcher", "flower", "postgres"}))
    def test_is_started_again_and_gets_ready(self, stack: RunningStack, name: str) -> None:
        killed = stack.pid(name)
        os.kill(killed, signal.SIGKILL)
        wait_until(lambda: self._look(stack, name)["pid"] != killed, f"{name} is started again", BACK_WITHIN_S)
        # How long a worker imports its libraries depends on what else the machine does.
        wait_until(lambda: self._look(stack, name)["state"] == "ready", f"{name} is ready", 300)
        wait_until(lambda: stack.http.get("/readyz").status_code == 200, "the gateway is ready", 120)

    def _look(self, stack: RunningStack, name: str) -> Mapping[str, Any]:
        # The file, not the command: starting a command takes seconds of its own.
        report: Any = read_json(stack.state / "processes.json")
        process: Mapping[str, Any] = report["processes"][name]
        return process
