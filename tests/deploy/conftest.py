"""A small stack: real servers, a real launcher, and two small programs on top."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from deploy.embedded import control
from deploy.embedded.report import StackReport, find_running, read_report
from deploy.embedded.state_folder import StateFolder

SMALL_LAUNCHER = (sys.executable, "-m", "tests.deploy.small_launcher")


@dataclass(frozen=True)
class SmallStack:
    """A state folder in which a small stack is started and stopped."""

    folder: StateFolder

    def start(self, kind: str = "sound", **environment: str) -> StackReport:
        """Start it detached and return its report once it is ready."""
        return control.start_detached(
            self.folder, environment={**os.environ, **environment}, command=(*SMALL_LAUNCHER, kind)
        )

    def stop(self) -> bool:
        """Stop it, whatever state it is in."""
        return control.stop(self.folder)

    def report(self) -> StackReport:
        """Return what its launcher says now."""
        report = read_report(self.folder)
        assert report is not None
        return report

    def process(self, name: str) -> psutil.Process | None:
        """Return the running process of this name."""
        return self.report().processes[name].identity.find()

    @property
    def is_running(self) -> bool:
        """Whether a launcher runs."""
        return find_running(self.folder) is not None


@pytest.fixture
def small_stack(tmp_path: Path) -> Iterator[SmallStack]:
    """A stopped small stack; it is stopped again afterwards."""
    stack = SmallStack(StateFolder.prepare(tmp_path / "state"))
    yield stack
    stack.stop()


@pytest.fixture(scope="module")
def started_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SmallStack]:
    """A small stack that runs, for tests that leave it running."""
    stack = SmallStack(StateFolder.prepare(tmp_path_factory.mktemp("stack") / "state"))
    stack.start()
    yield stack
    stack.stop()
