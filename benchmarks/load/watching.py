"""What is watched meanwhile, from a process of its own, so that the sender's work does not count: health and memory.

`python -m benchmarks.load.watching URL PID` looks until its input is closed, and prints what it saw as JSON.
"""

from __future__ import annotations

import http.client
import json
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import psutil

_EVERY_S = 0.1
_PATIENCE_S = 10.0
_THIRD = 3


@dataclass
class Watched:
    """Seconds of every look at `/health`, from when it was due, and the gateway's resident bytes beside it."""

    health_s: list[float] = field(default_factory=list)
    failures: int = 0
    rss_bytes: list[int] = field(default_factory=list)

    @property
    def growth(self) -> float:
        """How much more memory the gateway had in the last third than in the second, as a part of that."""
        third = len(self.rss_bytes) // _THIRD
        if third == 0:
            return 0.0
        middle = statistics.median(self.rss_bytes[third : 2 * third])
        return statistics.median(self.rss_bytes[2 * third :]) / middle - 1


@contextmanager
def watched(url: str, gateway_pid: int) -> Iterator[Watched]:
    """Watch while the block runs; what was seen is there once it has ended."""
    seen = Watched()
    command = [sys.executable, "-m", "benchmarks.load.watching", url, str(gateway_pid)]
    watcher = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        yield seen
    finally:
        told, _ = watcher.communicate(timeout=4 * _PATIENCE_S)
        _fill(seen, json.loads(told or "{}"))


def _fill(seen: Watched, told: Mapping[str, Sequence[float] | int]) -> None:
    for name, value in told.items():
        setattr(seen, name, value)


def watch(url: str, pid: int, stopped: threading.Event) -> Watched:
    """Look ten times a second until told to stop; a look that takes longer delays none of the others' due times."""
    seen, process, due_at = Watched(), psutil.Process(pid), time.monotonic()
    while not stopped.is_set():
        if _is_well(url):
            seen.health_s.append(time.monotonic() - due_at)
        else:
            seen.failures += 1
            seen.health_s.append(_PATIENCE_S)
        seen.rss_bytes.append(process.memory_info().rss)
        due_at += _EVERY_S
        stopped.wait(max(0.0, due_at - time.monotonic()))
    return seen


def _is_well(url: str) -> bool:
    address = urlsplit(url)
    connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=_PATIENCE_S)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _await_end_of_input(stopped: threading.Event) -> None:
    sys.stdin.read()
    stopped.set()


def main() -> None:
    """Watch until the input ends."""
    stopped = threading.Event()
    threading.Thread(target=_await_end_of_input, args=(stopped,), daemon=True).start()
    seen = watch(sys.argv[1], int(sys.argv[2]), stopped)
    print(json.dumps({"health_s": seen.health_s, "failures": seen.failures, "rss_bytes": seen.rss_bytes}))


if __name__ == "__main__":
    main()
