"""What the supervisor runs: a command, its environment, how one sees that it is ready, and how it is stopped."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from functools import cache
from pathlib import Path


class StopTurn(IntEnum):
    """Who stops first: what takes work in, what does it, what steers it, what keeps it."""

    GATEWAY = 0
    WORKERS = 1
    CONTROL = 2
    SERVERS = 3


@dataclass(frozen=True)
class Program:
    """One process to be kept running. `is_ready` is asked once it runs and must answer within about a second."""

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    is_ready: Callable[[], bool]
    stop_turn: StopTurn
    stop_signal: signal.Signals = signal.SIGTERM
    stop_grace_s: float = 10.0
    wrapper: tuple[str, ...] = ()
    """Put before the command; must end by exec, so that the process id is the program's own."""
    data_folder: Path | None = None
    """Processes of the command's name that work in this folder are the program's own, whatever their parent."""
    niceness: int = 0
    """How far it stands back where the processor is short (`nice(1)`)."""

    @property
    def full_command(self) -> list[str]:
        """The command as started: it gets its stop signal when the launcher dies, where the system can do that."""
        return [*self.wrapper, *_die_with_parent(self.stop_signal), *self.command]


@cache
def _die_with_parent(stop_signal: signal.Signals) -> tuple[str, ...]:
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        return ()
    return (setpriv, "--pdeathsig", stop_signal.name.removeprefix("SIG"), "--")
