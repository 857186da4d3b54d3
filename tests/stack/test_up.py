"""`ctclip up`, `status` and `down` as a user runs them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from deploy.embedded.processes import find_orphans
from deploy.embedded.state_folder import read_json
from tests.stack.running import CTCLIP, RunningStack, run_ctclip, running_stack, wait_until

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
        wait_until(lambda: self._look(stack, name)["state"] == "ready", f"{name} is ready", 180)
        wait_until(lambda: stack.http.get("/readyz").status_code == 200, "the gateway is ready", 120)

    def _look(self, stack: RunningStack, name: str) -> Mapping[str, Any]:
        # The file, not the command: starting a command takes seconds of its own.
        report: Any = read_json(stack.state / "processes.json")
        process: Mapping[str, Any] = report["processes"][name]
        return process


@contextmanager
def running_in_foreground(state: Path) -> Iterator[subprocess.Popen[str]]:
    """Run `ctclip up --json` in the foreground; it is stopped whatever happens."""
    up = subprocess.Popen([*CTCLIP, "up", "--json", "--state", str(state)], stdout=subprocess.PIPE, text=True)
    try:
        yield up
    finally:
        up.terminate()
        up.communicate(timeout=60)


class TestForeground:
    def test_prints_once_ready_and_leaves_nothing_after_ctrl_c(self, tmp_path: Path) -> None:
        with running_in_foreground(tmp_path / "state") as up:
            assert up.stdout is not None
            described = json.loads(up.stdout.readline())
            assert httpx.get(f"{described['url']}/livez").status_code == 200
            up.send_signal(signal.SIGINT)
            assert up.wait(30) == 0
        assert not find_orphans((tmp_path / "state").resolve())
        assert not [pid for pid in described["pids"].values() if psutil.pid_exists(pid)]


class TestKilledLauncher:
    def test_is_followed_by_a_start_on_the_same_data(self, tmp_path: Path, phantom_zip: Path) -> None:
        state = tmp_path / "state"
        with running_stack(state) as first:
            job_id = first.submit(phantom_zip, models="mednext")
            first.wait_for_end(job_id)
            os.kill(first.description["pids"]["launcher"], signal.SIGKILL)
            again = run_ctclip("up", "--detach", "--json", "--state", str(state))
            assert again.returncode == 0, again.stderr
            described = json.loads(again.stdout)
            old = set(first.description["pids"].values())
            assert not {process.pid for process in find_orphans(state.resolve())} & old
            result = httpx.get(f"{described['url']}/v1/jobs/{job_id}/result")
        assert result.status_code == 200
