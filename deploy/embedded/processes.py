"""Processes by id and start time, so that a reused id is never taken for one of ours; and the orphans of a state."""

from __future__ import annotations

import logging
import signal
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

_log = logging.getLogger(__name__)

ORPHAN_MARK = "CTCLIP_EMBEDDED_CHILD_OF"
"""Environment variable of every child (and its children): the state folder that they belong to."""

_START_TOLERANCE_S = 2.0
_KILL_LIMIT_S = 5.0
_LEAST_URGENT = 19
_WAITS_S = (0.11,) * 4
_POSTGRES = "postgres"


@dataclass(frozen=True)
class ProcessIdentity:
    """One process of this boot: the id may come again, with this start time it does not."""

    pid: int
    started_at: float

    def find(self) -> psutil.Process | None:
        """Return the process while it lives (a zombie does not)."""
        try:
            process = psutil.Process(self.pid)
            if abs(process.create_time() - self.started_at) > _START_TOLERANCE_S:
                return None
            return None if process.status() == psutil.STATUS_ZOMBIE else process
        except psutil.NoSuchProcess:
            return None


def identify(pid: int) -> ProcessIdentity | None:
    """Return the identity of a process that runs now."""
    try:
        return ProcessIdentity(pid, psutil.Process(pid).create_time())
    except psutil.NoSuchProcess:
        return None


def identify_self() -> ProcessIdentity:
    """Return the identity of this process."""
    process = psutil.Process()
    return ProcessIdentity(process.pid, process.create_time())


def find_orphans(root: Path, known: Iterable[ProcessIdentity] = ()) -> list[psutil.Process]:
    """Return what still runs for a state folder: the recorded processes, what carries the mark, and PostgreSQL's
    own children, which overwrite their environment but work in the data folder.
    """
    found = {process.pid: process for process in _living(known)}
    for process in psutil.process_iter():
        if process.pid not in found and _belongs(process, root):
            found[process.pid] = process
    return list(found.values())


def find_at_work(name: str, folder: Path) -> list[psutil.Process]:
    """Return the processes of this name whose working folder is `folder`."""
    return [process for process in psutil.process_iter() if _works_in(process, name, folder)]


def stand_back(pid: int, niceness: int) -> None:
    """Give a process that has just begun a session of its own, and what it will start in it, less of the processor.

    `niceness` counts from that of whoever starts it. Where Linux shares the processor out among sessions (`sched(7)`,
    autogroups), niceness of processes is of no effect between them, and it is the session that stands back.
    """
    with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
        process = psutil.Process(pid)
        process.nice(min(_LEAST_URGENT, process.nice() + niceness))
    session = Path(f"/proc/{pid}/autogroup")
    with suppress(OSError):  # no Linux, no autogroups, or it has ended
        if not _write_in_turn(session, str(niceness)):
            _log.warning("process %d keeps a full share of the processor", pid)


def _write_in_turn(file: Path, text: str) -> bool:
    """Return whether the system took it: only ten a second, for all users but root."""
    for wait_s in (0.0, *_WAITS_S):
        time.sleep(wait_s)
        with suppress(BlockingIOError):
            file.write_text(text)
            return True
    return False


def end_processes(processes: list[psutil.Process], grace_s: float) -> int:
    """Ask the processes to stop, kill what is left after the grace, and return how many there were."""
    for process in processes:
        # SIGINT is PostgreSQL's fast stop; SIGTERM would wait for its clients.
        _send(process, signal.SIGINT if _is_postgres(process) else signal.SIGTERM)
    _, left = psutil.wait_procs(processes, timeout=grace_s)
    for process in left:
        _send(process, signal.SIGKILL)
    psutil.wait_procs(left, timeout=_KILL_LIMIT_S)
    return len(processes)


def _living(known: Iterable[ProcessIdentity]) -> Iterator[psutil.Process]:
    for identity in known:
        process = identity.find()
        if process is not None:
            yield process


def _belongs(process: psutil.Process, root: Path) -> bool:
    try:
        if process.status() == psutil.STATUS_ZOMBIE:
            return False
        if process.environ().get(ORPHAN_MARK) == str(root):
            return True
    except (psutil.Error, OSError):
        return False
    return _works_in(process, _POSTGRES, root / "postgres")


def _works_in(process: psutil.Process, name: str, folder: Path) -> bool:
    try:
        return process.name() == name and process.cwd() == str(folder)
    except (psutil.Error, OSError):
        return False


def _is_postgres(process: psutil.Process) -> bool:
    try:
        return process.name() == _POSTGRES
    except psutil.Error:
        return False


def _send(process: psutil.Process, number: signal.Signals) -> None:
    try:
        process.send_signal(number)
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return
