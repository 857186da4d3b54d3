"""`ctclip up` from its start to its end, with every process: what Ctrl-C and a killed launcher leave behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil
import pytest

from deploy.embedded.platform_programs import FLOWER, WORKERS
from deploy.embedded.processes import find_orphans
from tests.stack.running import CTCLIP, run_ctclip, running_stack

pytestmark = pytest.mark.stack


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
    def test_prints_once_ready_lets_computing_stand_back_and_leaves_nothing_after_ctrl_c(self, tmp_path: Path) -> None:
        with running_in_foreground(tmp_path / "state") as up:
            assert up.stdout is not None
            described = json.loads(up.stdout.readline())
            assert httpx.get(f"{described['url']}/livez").status_code == 200
            pids = described["pids"]
            own = psutil.Process().nice()
            assert {name for name in pids if psutil.Process(pids[name]).nice() > own} == {*WORKERS, FLOWER}
            up.send_signal(signal.SIGINT)
            assert up.wait(90) == 0
        assert not find_orphans((tmp_path / "state").resolve())
        assert not [pid for pid in described["pids"].values() if psutil.pid_exists(pid)]


class TestKilledLauncher:
    def test_is_followed_by_a_start_on_the_same_data(self, tmp_path: Path, phantom_zip: Path) -> None:
        state, without_models = tmp_path / "state", {"CTCLIP_WEIGHTS_PROFILE": "none"}  # which only take time here
        with running_stack(state, **without_models) as first:
            job_id = first.submit(phantom_zip)
            ended = first.wait_for_end(job_id)
            os.kill(first.description["pids"]["launcher"], signal.SIGKILL)
            again = run_ctclip("up", "--detach", "--json", "--state", str(state), **without_models)
            assert again.returncode == 0, again.stderr
            described = json.loads(again.stdout)
            old = set(first.description["pids"].values())
            assert not {process.pid for process in find_orphans(state.resolve())} & old
            kept = httpx.get(f"{described['url']}/v1/jobs/{job_id}")
        assert kept.json() == ended
