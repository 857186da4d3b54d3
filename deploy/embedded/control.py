"""What one does to a stack from outside: start it detached, look at it, stop it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import psutil

from deploy.embedded.launcher import end_orphans
from deploy.embedded.problems import AlreadyRunning, StackProblem
from deploy.embedded.processes import ProcessIdentity
from deploy.embedded.report import StackPhase, StackReport, find_running, ignore_report, read_report
from deploy.embedded.state_folder import StateFolder

LAUNCHER_COMMAND = (sys.executable, "-m", "deploy.embedded.launcher")

_PROJECT_ROOT = Path(__file__).resolve().parents[2]
_POLL_S = 0.05
_START_LIMIT_S = 420.0
_STOP_LIMIT_S = 60.0
_KILL_LIMIT_S = 5.0
_ENDING_PATIENCE_S = 1.0
_OUTPUT = "launcher-output"


def start_detached(
    folder: StateFolder,
    *,
    environment: Mapping[str, str],
    on_report: Callable[[StackReport], None] = ignore_report,
    command: Sequence[str] = LAUNCHER_COMMAND,
) -> StackReport:
    """Start a launcher that outlives this process, and return its report once everything is ready.

    Raises AlreadyRunning when a launcher holds the folder, StackProblem when the stack does not get ready. Whatever
    ends the wait, no half-started stack is left behind.
    """
    _refuse_running(folder)
    output = folder.open_new_log(_OUTPUT)
    process = _spawn(command, folder, environment, output)
    try:
        report = _await_ready(process, folder, output, on_report)
    except BaseException:
        _end_launcher(process)
        raise
    # Takes note of its end for as long as this process lives.
    threading.Thread(target=process.wait, name="launcher", daemon=True).start()
    return report


def stop(folder: StateFolder, on_report: Callable[[StackReport], None] = ignore_report) -> bool:
    """Stop the stack of a state folder and whatever a crashed launcher left there. Returns whether anything ran.

    Raises StackProblem when the launcher neither stops nor can be killed.
    """
    running = find_running(folder)
    if running is not None:
        _stop_launcher(running.launcher, folder, on_report)
    if not folder.root.is_dir():
        return False
    with folder.lock():
        return end_orphans(folder) > 0 or running is not None


def _refuse_running(folder: StateFolder) -> None:
    """Raise AlreadyRunning when a launcher runs that is not just about to end."""
    deadline = time.monotonic() + _ENDING_PATIENCE_S
    while (running := find_running(folder)) is not None:
        if time.monotonic() > deadline:
            raise AlreadyRunning(
                f"The platform already runs in {folder.root} ({running.phase}) at {running.url}. "
                f"`ctclip down --state {folder.root}` stops it; another folder makes a second platform."
            )
        time.sleep(_POLL_S)


def _spawn(
    command: Sequence[str], folder: StateFolder, environment: Mapping[str, str], output: Path
) -> subprocess.Popen[bytes]:
    paths = [str(_PROJECT_ROOT), *filter(None, environment.get("PYTHONPATH", "").split(os.pathsep))]
    with output.open("wb") as stream:
        return subprocess.Popen(  # noqa: S603  # our own command line
            [*command, "--state", str(folder.root)],
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
            env={**environment, "PYTHONPATH": os.pathsep.join(paths), "PYTHONSAFEPATH": "1"},
            start_new_session=True,
        )


def _await_ready(
    process: subprocess.Popen[bytes], folder: StateFolder, output: Path, on_report: Callable[[StackReport], None]
) -> StackReport:
    deadline = time.monotonic() + _START_LIMIT_S
    seen: StackReport | None = None
    while time.monotonic() < deadline:
        has_ended = process.poll() is not None
        report = _read_report_of(process, folder)
        if report is not None and report != seen:
            seen = report
            on_report(report)
        if has_ended:
            raise StackProblem(_describe_end(seen, output))
        if report is not None and report.phase is StackPhase.READY:
            return report
        time.sleep(_POLL_S)
    raise StackProblem(f"The platform was not ready within {_START_LIMIT_S:.0f} s. Look at {folder.logs}.")


def _read_report_of(process: subprocess.Popen[bytes], folder: StateFolder) -> StackReport | None:
    report = read_report(folder)
    return report if report is not None and report.launcher.pid == process.pid else None


def _describe_end(report: StackReport | None, output: Path) -> str:
    if report is not None and report.failure is not None:
        return report.failure
    said = output.read_text("utf-8", "replace").strip()
    return said or "The launcher ended before the platform was ready, without a word."


def _end_launcher(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(_STOP_LIMIT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _stop_launcher(launcher: ProcessIdentity, folder: StateFolder, on_report: Callable[[StackReport], None]) -> None:
    with suppress(psutil.NoSuchProcess):
        psutil.Process(launcher.pid).send_signal(signal.SIGTERM)
    if _await_end(launcher, folder, on_report, _STOP_LIMIT_S):
        return
    with suppress(psutil.NoSuchProcess):
        psutil.Process(launcher.pid).kill()
    if not _await_end(launcher, folder, on_report, _KILL_LIMIT_S):
        raise StackProblem(f"The launcher (process {launcher.pid}) does not end. Look at {folder.logs}.")


def _await_end(
    launcher: ProcessIdentity, folder: StateFolder, on_report: Callable[[StackReport], None], limit_s: float
) -> bool:
    deadline = time.monotonic() + limit_s
    seen: StackReport | None = None
    while launcher.find() is not None:
        if time.monotonic() > deadline:
            return False
        report = read_report(folder)
        if report is not None and report != seen and report.phase is StackPhase.STOPPING:
            seen = report
            on_report(report)
        time.sleep(_POLL_S)
    return True
