"""Child processes that read studies: started ahead, used once, killed when they stray.

A child that dies (a decoder crashed, or it hit its memory limit) costs its study one more try on a fresh child; a
study that kills two is refused as `undecodable`. The worker goes on.
"""

from __future__ import annotations

import os
import select
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import workers
from shared.errors import Defect, InputProblem, TransientFault
from shared.problems import ProblemCode
from workers.intake.messages import Ending, Message, Order, decode_message, encode_order
from workers.intake.report import IntakeReport

_ATTEMPTS = 2
_READ_BYTES = 1 << 16
_ROOT = Path(workers.__file__).parents[1]

Progress = Callable[[float], None]


class ChildDied(Exception):
    """The child ended without an answer, ran out of memory, or had to be killed."""


class Child:
    """One process that reads one study."""

    def __init__(self) -> None:
        answers, child_end = os.pipe()
        try:
            self._process = subprocess.Popen(  # noqa: S603  # our own module
                [sys.executable, "-P", "-m", "workers.intake.child", str(child_end)],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=_make_environment(),
                pass_fds=(child_end,),
            )
        finally:
            os.close(child_end)
        self._answers = answers

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        """Whether it still waits or works."""
        return self._process.poll() is None

    def carry_out(self, order: Order, report: Progress) -> Message:
        """Give the order and return the last message. Raises ChildDied, and whatever `report` raises."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(encode_order(order))
            self._process.stdin.flush()
            return self._follow(order, report)
        except BrokenPipeError as error:
            raise ChildDied("it ended before the order came") from error
        finally:
            self.kill()

    def kill(self) -> None:
        """End the process at once and free what it held."""
        self._process.kill()
        self._process.wait()
        if self._process.stdin is not None:
            with suppress(BrokenPipeError):
                self._process.stdin.close()
        if self._answers >= 0:
            os.close(self._answers)
            self._answers = -1

    def _follow(self, order: Order, report: Progress) -> Message:
        deadline = time.monotonic() + order.limits.time.total_seconds()
        for line in self._iterate_lines(deadline):
            try:
                message = decode_message(line)
            except ValueError as error:
                raise ChildDied("it answered nonsense") from error
            if message.ending is Ending.OUT_OF_MEMORY:
                raise ChildDied("it ran out of memory")
            if message.ending is not None:
                return message
            report(message.progress)
        raise ChildDied(f"it ended with status {self._process.wait()}")

    def _iterate_lines(self, deadline: float) -> Iterator[bytes]:
        """Yield whole lines until the pipe ends. Raises ChildDied at the deadline."""
        pending = b""
        while True:
            ready, _, _ = select.select([self._answers], [], [], max(0.0, deadline - time.monotonic()))
            if not ready:
                raise ChildDied("it took too long")
            piece = os.read(self._answers, _READ_BYTES)
            if not piece:
                return
            *lines, pending = (pending + piece).split(b"\n")
            yield from lines


class ChildPool:
    """Keeps children ready, so that their imports are paid before the study comes."""

    def __init__(self, *, ready: int = 1) -> None:
        self._lock = threading.Lock()
        self._idle = deque(Child() for _ in range(ready))
        self._ready = ready

    def read(self, order: Order, report: Progress) -> IntakeReport:
        """Have an upload read.

        Raises InputProblem(UNDECODABLE) when it kills its child twice, TransientFault when storage or disk fail,
        Defect for a bug of ours.
        """
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                return _unwrap(self._take().carry_out(order, report))
            except ChildDied as death:
                reason = str(death)
                order.volume_path.unlink(missing_ok=True)
                if attempt == _ATTEMPTS:
                    break
        raise InputProblem(
            ProblemCode.UNDECODABLE,
            f"Reading the study ended its process {_ATTEMPTS} times: {reason}.",
            attempts=_ATTEMPTS,
        )

    def close(self) -> None:
        """End the children that wait."""
        with self._lock:
            while self._idle:
                self._idle.pop().kill()

    def _take(self) -> Child:
        """Return a child that waits, and start the one that replaces it."""
        with self._lock:
            child = self._idle.popleft() if self._idle else Child()
            while len(self._idle) < self._ready:
                self._idle.append(Child())
        if child.is_alive:
            return child
        child.kill()
        return Child()


def _unwrap(message: Message) -> IntakeReport:
    if message.ending is Ending.ANSWERED and message.report is not None:
        return message.report
    if message.ending in {Ending.STORAGE_FAULT, Ending.NO_SPACE}:
        raise TransientFault(message.fault or ProblemCode.STORAGE_UNAVAILABLE, message.evidence or "intake: disk full")
    raise Defect("intake: the child met a bug", evidence=message.evidence)


def _make_environment() -> dict[str, str]:
    """Return all that the child may know: where our code is, and that one thread is enough for libraries."""
    return {
        "PATH": os.defpath,
        "LANG": "C.UTF-8",
        "PYTHONPATH": str(_ROOT),
        "OPENBLAS_NUM_THREADS": "1",
        "OMP_NUM_THREADS": "1",
        "MALLOC_ARENA_MAX": "2",
    }
