"""One supervised process: started, watched, started again, stopped."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections import deque
from contextlib import suppress
from enum import StrEnum
from pathlib import Path

from deploy.embedded.processes import ORPHAN_MARK, ProcessIdentity, end_processes, find_at_work, identify, stand_back
from deploy.embedded.program import Program
from deploy.embedded.state_folder import StateFolder

_CRASH_WINDOW_S = 60.0
_FIRST_DELAY_S = 0.2
_LONGEST_DELAY_S = 4.0


class ChildState(StrEnum):
    """Where a process stands."""

    STARTING = "starting"
    READY = "ready"
    WAITING = "waiting"
    """Ended on its own; is started again in a moment."""
    STOPPED = "stopped"


class Child:
    """A program and the process that runs it now."""

    def __init__(self, program: Program, folder: StateFolder) -> None:
        self.program = program
        self.state = ChildState.STOPPED
        self.restarts = 0
        self.was_ready = False
        self.identity: ProcessIdentity | None = None
        self.seconds_to_ready: float | None = None
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        self._crashes: deque[float] = deque()
        self._started_at = 0.0
        self._restart_at = 0.0

    @property
    def recent_crashes(self) -> int:
        """How often it ended on its own within the last minute."""
        while self._crashes and self._crashes[0] < time.monotonic() - _CRASH_WINDOW_S:
            self._crashes.popleft()
        return len(self._crashes)

    @property
    def is_running(self) -> bool:
        """Whether a process of it exists."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start the process in a session of its own: a Ctrl-C on the terminal reaches the launcher alone."""
        self._folder.ready_file(self.program.name).unlink(missing_ok=True)
        with self._folder.log_file(self.program.name).open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603  # our own command lines
                self.program.full_command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**self.program.environment, ORPHAN_MARK: str(self._folder.root)},
                start_new_session=True,
            )
        if self.program.niceness:
            stand_back(self._process.pid, self.program.niceness)
        self.identity = identify(self._process.pid)
        self._started_at = time.monotonic()
        self.state = ChildState.STARTING

    def look(self) -> bool:
        """Notice an end, a readiness or a due restart. Returns whether anything changed."""
        if self.state is ChildState.WAITING and time.monotonic() >= self._restart_at:
            self.restarts += 1
            self.start()
            return True
        if self.state in {ChildState.STARTING, ChildState.READY} and not self.is_running:
            self._note_crash()
            return True
        if self.state is ChildState.STARTING and self.program.is_ready():
            self.state = ChildState.READY
            self.was_ready = True
            self.seconds_to_ready = time.monotonic() - self._started_at
            return True
        return False

    def ask_to_stop(self) -> None:
        """Send the stop signal; the process may take its time."""
        if self.is_running and self._process is not None:
            self._process.send_signal(self.program.stop_signal)
        self.state = ChildState.STOPPED

    def kill(self) -> None:
        """End the process and all that it started."""
        if self._process is None:
            return
        self._kill_group()
        self._process.wait()
        self.state = ChildState.STOPPED

    def _note_crash(self) -> None:
        self._kill_group()
        self._crashes.append(time.monotonic())
        delay_s = min(_FIRST_DELAY_S * 2 ** (self.recent_crashes - 1), _LONGEST_DELAY_S)
        self._restart_at = time.monotonic() + delay_s
        self.state = ChildState.WAITING

    def _kill_group(self) -> None:
        """Kill what the process started too, so that nothing works on beside the next one."""
        if self._process is not None:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)
        if self.program.data_folder is not None:
            name = Path(self.program.command[0]).name
            end_processes(find_at_work(name, self.program.data_folder), grace_s=0)
