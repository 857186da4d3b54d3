"""Keeps programs running: one loop in one thread (a child that dies with its parent dies with the parent's thread)."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from itertools import groupby

from deploy.embedded.child import Child, ChildState
from deploy.embedded.problems import StackProblem
from deploy.embedded.program import Program
from deploy.embedded.state_folder import StateFolder

CRASH_LIMIT = 5
"""A program that ends this often within a minute without ever having been ready is given up."""

_POLL_S = 0.03
_LOG_LINES_SHOWN = 15
_LOG_TAIL_BYTES = 16 * 1024


class StartInterrupted(Exception):
    """Somebody asked the launcher to stop before everything was ready."""


def _never() -> bool:
    return False


def _ignore() -> None:
    return None


class Supervisor:
    """Starts programs, starts them again when they end, and stops them in turn."""

    def __init__(
        self,
        folder: StateFolder,
        *,
        on_change: Callable[[], None] = _ignore,
        must_stop: Callable[[], bool] = _never,
        must_hurry: Callable[[], bool] = _never,
    ) -> None:
        self.children: dict[str, Child] = {}
        self._folder = folder
        self._on_change = on_change
        self._must_stop = must_stop
        self._must_hurry = must_hurry

    @property
    def is_ready(self) -> bool:
        """Whether every program is ready now."""
        return all(child.state is ChildState.READY for child in self.children.values())

    def start(self, programs: Iterable[Program]) -> None:
        """Start programs; they are not waited for."""
        for program in programs:
            self._folder.open_new_log(program.name)
            child = self.children[program.name] = Child(program, self._folder)
            child.start()
            self._on_change()

    def wait_ready(self, limit_s: float) -> None:
        """Return when all are ready.

        Raises StackProblem when one is given up or the limit passes, StartInterrupted when asked to stop.
        """
        deadline = time.monotonic() + limit_s
        while not self.is_ready:
            if self._must_stop():
                raise StartInterrupted
            if time.monotonic() > deadline:
                raise StackProblem(self._describe_slow(limit_s))
            self.tick()
            time.sleep(_POLL_S)

    def run(self) -> None:
        """Keep everything running until asked to stop."""
        while not self._must_stop():
            self.tick()
            time.sleep(_POLL_S)

    def tick(self) -> None:
        """Look at every child once. Raises StackProblem when one never gets ready."""
        for child in self.children.values():
            if child.look():
                self._on_change()
            if not child.was_ready and child.recent_crashes >= CRASH_LIMIT:
                raise StackProblem(self._describe_given_up(child))

    def stop(self) -> None:
        """Stop everything in turn; what does not go within its grace is killed."""
        in_turn = sorted(self.children.values(), key=lambda child: child.program.stop_turn)
        for _, group in groupby(in_turn, key=lambda child: child.program.stop_turn):
            self._stop_together(list(group))
            self._on_change()

    def _stop_together(self, group: list[Child]) -> None:
        asked_at = time.monotonic()
        for child in group:
            child.ask_to_stop()
        self._on_change()
        for child in group:
            deadline = asked_at + child.program.stop_grace_s
            while child.is_running and time.monotonic() < deadline and not self._must_hurry():
                time.sleep(_POLL_S)
            child.kill()

    def _describe_given_up(self, child: Child) -> str:
        name = child.program.name
        return (
            f"{name} ended {child.recent_crashes} times before it was ready. "
            f"The end of {self._folder.log_file(name)}:\n{self.log_tail(name)}\n"
            "Mend what it says and start again; the data is kept."
        )

    def _describe_slow(self, limit_s: float) -> str:
        slow = [name for name, child in self.children.items() if child.state is not ChildState.READY]
        tails = "\n".join(f"The end of {self._folder.log_file(name)}:\n{self.log_tail(name)}" for name in slow)
        return f"Not ready after {limit_s:.0f} s: {', '.join(slow)}.\n{tails}\nThe data is kept; try again."

    def log_tail(self, name: str) -> str:
        """Return the last lines of one log."""
        return read_tail(self._folder, name)


def read_tail(folder: StateFolder, name: str) -> str:
    """Return the last lines of the log of one process, indented."""
    try:
        with folder.log_file(name).open("rb") as log:
            log.seek(max(0, log.seek(0, 2) - _LOG_TAIL_BYTES))
            lines = log.read().decode("utf-8", "replace").splitlines()[-_LOG_LINES_SHOWN:]
    except OSError:
        lines = []
    return "\n".join(f"    {line}" for line in lines) or "    (empty)"
