"""Who stands back where the processor is short."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from deploy.embedded.processes import stand_back


@pytest.fixture
def pid() -> Iterator[int]:
    """A process in a session of its own, as the supervisor starts them."""
    process = subprocess.Popen(["sleep", "60"], start_new_session=True)
    yield process.pid
    process.kill()
    process.wait()


class TestStandBack:
    def test_lowers_the_process_and_its_session(self, pid: int) -> None:
        stand_back(pid, 5)
        assert psutil.Process(pid).nice() == min(19, psutil.Process().nice() + 5)
        session = Path(f"/proc/{pid}/autogroup")
        if session.exists():
            assert session.read_text().split()[1:] == ["nice", "5"]

    def test_is_quiet_about_a_process_that_has_ended(self) -> None:
        with subprocess.Popen(["true"]) as ended:
            ended.wait()
        stand_back(ended.pid, 5)
