"""`python -m workers.intake.nursery`: imports once, and forks one child for each study. Meets no study itself.

For each study the worker passes two sockets: `talk`, which only the child keeps (the order in, answers out), and
`leash`, which only the nursery keeps. When the worker shuts its end of the leash, the child is killed with all that it
started; when the child has ended, however it did, the leash brings its exit status (below zero: a signal) and closes.
When the control socket ends, the worker is gone, and so are the nursery and its children.

No thread runs here when a child is forked: libraries are held to one thread by the environment, and what starts
threads (blosc2, reading ahead) does so in the child. Not `multiprocessing`'s fork server: it takes over the
environment of the worker, which holds credentials, and it neither limits nor groups what it forks.

What few studies need is loaded by the child that meets one; with `late` as a second argument, also what reading headers
alone does not need.
"""

from __future__ import annotations

import ctypes
import gc
import os
import selectors
import signal
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from typing import NoReturn

from workers.intake.late_imports import LATE, PUT_OFF, RARELY_USED, put_off_imports

_PR_SET_PDEATHSIG = 1  # prctl(2)
_LIBC = ctypes.CDLL(None)


@dataclass(frozen=True)
class _Child:
    exit_descriptor: int
    leash: socket.socket

    def close(self) -> None:
        os.close(self.exit_descriptor)
        self.leash.close()


class _Nursery:
    """Forks children, kills those that nobody wants, and tells how each ended."""

    def __init__(self, control: socket.socket, work: Callable[[socket.socket], None]) -> None:
        self._control = control
        self._work = work
        self._children: dict[int, _Child] = {}
        self._selector = selectors.PollSelector()
        self._is_wanted = True

    def serve(self) -> None:
        """Serve until the worker is gone, then end the children."""
        self._selector.register(self._control, selectors.EVENT_READ, self._take)
        while self._is_wanted:
            for key, _ in self._selector.select():
                key.data()
        for pid in list(self._children):
            self._kill(pid)
            self._reap(pid)

    def _take(self) -> None:
        message, descriptors, _, _ = socket.recv_fds(self._control, 1, 2, socket.MSG_CMSG_CLOEXEC)
        if not message:
            self._is_wanted = False
            return
        talk, leash = (socket.socket(fileno=descriptor) for descriptor in descriptors)
        with talk:
            self._fork(talk, leash)

    def _fork(self, talk: socket.socket, leash: socket.socket) -> None:
        nursery = os.getpid()
        try:
            pid = os.fork()
        except OSError:  # no memory or no process left: the leash ends without a status
            leash.close()
            return
        if pid == 0:
            self._become_child(nursery, talk, leash)
        _lead_group(pid)
        child = _Child(os.pidfd_open(pid), leash)
        self._children[pid] = child
        self._selector.register(child.exit_descriptor, selectors.EVENT_READ, partial(self._reap, pid))
        self._selector.register(leash, selectors.EVENT_READ, partial(self._kill, pid))

    def _become_child(self, nursery: int, talk: socket.socket, leash: socket.socket) -> NoReturn:
        status = 1
        try:
            _lead_group(0)
            _die_with(nursery)
            leash.close()
            self._control.close()
            for sibling in self._children.values():
                sibling.close()
            self._work(talk)
            status = 0
        finally:
            os._exit(status)

    def _kill(self, pid: int) -> None:
        if pid in self._children:
            with suppress(KeyError):
                self._selector.unregister(self._children[pid].leash)
            _kill_group(pid)

    def _reap(self, pid: int) -> None:
        child = self._children[pid]
        # Until it is reaped, its id and that of its group belong to nobody else.
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        _kill_group(pid)
        _, status = os.waitpid(pid, 0)
        del self._children[pid]
        self._selector.unregister(child.exit_descriptor)
        with suppress(KeyError):
            self._selector.unregister(child.leash)
        with suppress(OSError):
            child.leash.send(b"%d" % os.waitstatus_to_exitcode(status))
        child.close()


def _lead_group(pid: int) -> None:
    """Give a child its own process group. Both sides do, as neither knows who comes first."""
    with suppress(OSError):
        os.setpgid(pid, pid)


def _kill_group(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)


def _die_with(nursery: int) -> None:
    """Have the kernel kill this process when the nursery ends, also when it is killed."""
    if _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0 or os.getppid() != nursery:
        os._exit(1)


def serve(work: Callable[[socket.socket], None]) -> None:
    """Serve the control socket that the command line names, with children that `work`."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # meant for the worker, which still finishes the study in hand
    gc.collect()
    gc.freeze()  # else the first collection in each child would copy every page
    with socket.socket(fileno=int(sys.argv[1])) as control:
        _Nursery(control, work).serve()


def main() -> None:
    """Serve with children that read studies."""
    put_off_imports(PUT_OFF if LATE in sys.argv[2:] else RARELY_USED)
    serve(import_module("workers.intake.child").work)


if __name__ == "__main__":
    main()
