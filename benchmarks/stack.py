"""A whole stack for a benchmark: started with given settings, stopped afterwards."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from deploy.embedded import control
from deploy.embedded.state_folder import StateFolder, read_environment


@dataclass(frozen=True)
class Stack:
    """Where a running stack is reached."""

    url: str
    broker_url: str
    pids: Mapping[str, int]


@contextmanager
def started_stack(
    state: Path, environment: Mapping[str, str], command: Sequence[str] = control.LAUNCHER_COMMAND
) -> Iterator[Stack]:
    """Run the platform in `state` while the block runs, with `environment` on top of our own; `command` launches it.

    Raises StackProblem when it does not get ready.
    """
    folder = StateFolder.prepare(state)
    report = control.start_detached(folder, environment={**os.environ, **environment}, command=command)
    try:
        pids = {name: process.identity.pid for name, process in report.processes.items()}
        yield Stack(str(report.url), read_environment(state)["CTCLIP_BROKER_URL"], pids)
    finally:
        control.stop(folder)
