"""Child processes that read studies: forked from a nursery that paid the imports, used once, killed when they stray.

A child that dies (a decoder crashed, or it hit its memory limit) costs its study one more try on a fresh child; a
study that kills two is refused as `undecodable`. The worker goes on. A nursery that died is started again.
"""

from __future__ import annotations

import os
import select
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import workers
from shared.errors import Defect, InputProblem, TransientFault
from shared.problems import ProblemCode
from workers.intake.late_imports import LATE
from workers.intake.messages import Ending, Message, Order, decode_message, encode_order
from workers.intake.progress import Progress
from workers.intake.report import IntakeReport

_ATTEMPTS = 2
_READ_BYTES = 1 << 16
_ROOT = Path(workers.__file__).parents[1]

# A kill takes milliseconds, the imports of a nursery that has just been started some seconds on a busy machine.
_PATIENCE_S = 30.0


class ChildDied(Exception):
    """The child ended without an answer, ran out of memory, or had to be killed."""


class NurseryDied(ChildDied):
    """The child's nursery ended, hangs or cannot fork, so the study is hardly to blame."""


class Child:
    """One process that reads one study, as the worker holds it. `nursery.py` says what the two sockets are for."""

    def __init__(self, nursery: Nursery, talk: socket.socket, leash: socket.socket) -> None:
        self._nursery = nursery
        self._talk = talk
        self._leash = leash
        self._status: int | None = None

    def carry_out(self, order: Order, report: Progress) -> Message:
        """Give the order and return the last message. Raises ChildDied, and whatever `report` raises."""
        try:
            self._talk.sendall(encode_order(order))
            return self._follow(order, report)
        except (BrokenPipeError, ConnectionResetError) as error:
            raise self._explain_death() from error
        finally:
            self.end()

    def end(self) -> None:
        """Have the process killed, with all that it started, and wait until it is gone."""
        with self._talk, self._leash, suppress(OSError):
            self._leash.shutdown(socket.SHUT_WR)
            self._leash.settimeout(_PATIENCE_S)
            try:
                status = self._leash.recv(_READ_BYTES)
            except TimeoutError:
                self._nursery.kill()
            else:
                self._status = int(status) if status else None

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
        raise self._explain_death()

    def _iterate_lines(self, deadline: float) -> Iterator[bytes]:
        """Yield whole lines until the child closes its end. Raises ChildDied at the deadline."""
        pending = b""
        while True:
            ready, _, _ = select.select([self._talk], [], [], max(0.0, deadline - time.monotonic()))
            if not ready:
                raise ChildDied("it took too long")
            piece = self._talk.recv(_READ_BYTES)
            if not piece:
                return
            *lines, pending = (pending + piece).split(b"\n")
            yield from lines

    def _explain_death(self) -> ChildDied:
        self.end()
        if self._status is None:
            return NurseryDied("its nursery failed")
        if self._status < 0:
            return ChildDied(f"it was ended by signal {-self._status}")
        return ChildDied(f"it ended with status {self._status}")


class Nursery:
    """The process that forks the children, as the worker holds it."""

    def __init__(self, *, is_late: bool = False) -> None:
        self._control, nursery_end = socket.socketpair()
        with nursery_end:
            self._process = subprocess.Popen(  # noqa: S603  # our own module
                [
                    sys.executable,
                    "-P",
                    "-m",
                    "workers.intake.nursery",
                    str(nursery_end.fileno()),
                    *([LATE] if is_late else []),
                ],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=_make_environment(),
                pass_fds=(nursery_end.fileno(),),
            )

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        """Whether it still serves."""
        return self._process.poll() is None

    def start_child(self) -> Child:
        """Have a child forked. Raises NurseryDied."""
        talk, child_end = socket.socketpair()
        leash, nursery_end = socket.socketpair()
        with child_end, nursery_end:
            try:
                socket.send_fds(self._control, [b"+"], [child_end.fileno(), nursery_end.fileno()])
            except OSError as error:
                talk.close()
                leash.close()
                raise NurseryDied("its nursery failed") from error
        return Child(self, talk, leash)

    def close(self) -> None:
        """Have it end its children and itself, and wait until it is gone."""
        self._control.close()
        try:
            self._process.wait(_PATIENCE_S)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """End it at once; the kernel ends its children."""
        self._process.kill()
        self._process.wait()
        self._control.close()


class ChildPool:
    """Forks a child for each study; threads may share it. Its nursery is started ahead, before the first study.

    One that `reads_headers_only` is ready in half the time, and slow at everything else.
    """

    def __init__(self, *, reads_headers_only: bool = False) -> None:
        self._lock = threading.Lock()
        self._is_late = reads_headers_only
        self._nursery = Nursery(is_late=reads_headers_only)
        self._is_closed = False

    def read(self, order: Order, report: Progress) -> IntakeReport:
        """Have an upload read.

        Raises InputProblem(UNDECODABLE) when it kills its child twice, TransientFault when storage or disk fail or
        the pool is closed, Defect for a bug of ours.
        """
        deaths: list[ChildDied] = []
        while len(deaths) < _ATTEMPTS:
            try:
                return _unwrap(self._start_child().carry_out(order, report))
            except ChildDied as death:
                deaths.append(death)
                order.volume_path.unlink(missing_ok=True)
        if any(isinstance(death, NurseryDied) for death in deaths):
            raise Defect("intake: the nursery of the children died")
        raise InputProblem(
            ProblemCode.UNDECODABLE,
            f"Reading the study ended its process {_ATTEMPTS} times: {deaths[-1]}.",
            attempts=_ATTEMPTS,
        )

    def close(self) -> None:
        """End the nursery and all its children."""
        with self._lock:
            self._is_closed = True
            self._nursery.close()

    def _start_child(self) -> Child:
        with self._lock:
            if self._is_closed:
                raise TransientFault(ProblemCode.NOT_READY, "intake: the pool is closed")
            if not self._nursery.is_alive:
                self._nursery.kill()
                self._nursery = Nursery(is_late=self._is_late)
            return self._nursery.start_child()


def _unwrap(message: Message) -> IntakeReport:
    if message.ending is Ending.ANSWERED and message.report is not None:
        return message.report
    if message.ending in {Ending.STORAGE_FAULT, Ending.NO_SPACE}:
        raise TransientFault(message.fault or ProblemCode.STORAGE_UNAVAILABLE, message.evidence or "intake: disk full")
    raise Defect("intake: the child met a bug", evidence=message.evidence)


def _make_environment() -> dict[str, str]:
    """Return all that nursery and children may know: where our code is, and that one thread is enough for libraries.

    With more, NumExpr (inside blosc2) starts threads when it is imported, and a fork would lose them.
    """
    return {
        "PATH": os.defpath,
        "LANG": "C.UTF-8",
        "PYTHONPATH": str(_ROOT),
        "OPENBLAS_NUM_THREADS": "1",
        "OMP_NUM_THREADS": "1",
        "NUMEXPR_MAX_THREADS": "1",
        "MALLOC_ARENA_MAX": "2",
    }
