"""Memory of a stage, predicted before the stage is claimed: what does not fit now waits, so that nothing is killed.

What a running stage was predicted to take counts in full against what was free when none ran, since it may still grow.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import psutil
import torch

from shared.byte_units import GIB
from shared.errors import Unanswerable
from shared.problems import ProblemCode

_CGROUPS = (
    (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current"), "inactive_file"),
    (
        Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
        Path("/sys/fs/cgroup/memory/memory.usage_in_bytes"),
        "total_inactive_file",
    ),
)
"""Limit, usage and the name of reclaimable cache in `memory.stat`, of both versions of control groups."""

LONGEST_WAIT_S = 60.0
"""How long a stage waits for others of its process before it is left to a later attempt."""


@dataclass(frozen=True)
class MemoryAmount:
    """Bytes of main memory and of the GPU's own."""

    host_bytes: int = 0
    device_bytes: int = 0

    def __add__(self, other: MemoryAmount) -> MemoryAmount:
        return MemoryAmount(self.host_bytes + other.host_bytes, self.device_bytes + other.device_bytes)

    def __sub__(self, other: MemoryAmount) -> MemoryAmount:
        return MemoryAmount(self.host_bytes - other.host_bytes, self.device_bytes - other.device_bytes)

    def or_more(self, other: MemoryAmount) -> MemoryAmount:
        """Return the larger amount of each kind."""
        return MemoryAmount(max(self.host_bytes, other.host_bytes), max(self.device_bytes, other.device_bytes))

    def fits(self, free: MemoryAmount) -> bool:
        """Whether there is as much of both."""
        return self.host_bytes <= free.host_bytes and self.device_bytes <= free.device_bytes


def read_free_memory() -> MemoryAmount:
    """Return what this process may still take: of the machine, of its container, of the first GPU."""
    host_bytes = min([psutil.virtual_memory().available, *_iterate_container_limits()])
    return MemoryAmount(int(host_bytes), _read_device_bytes())


def read_total_memory() -> MemoryAmount:
    """Return what this process could take on top of what it has if nothing else ran.

    Of the machine, of its container, of the first GPU.
    """
    host_bytes = min([psutil.virtual_memory().total, *(allowed for allowed, _ in _iterate_containers())])
    device_bytes = torch.cuda.get_device_properties(0).total_memory if torch.cuda.is_available() else 0
    return MemoryAmount(host_bytes, device_bytes) - _read_taken_memory()


def _read_taken_memory() -> MemoryAmount:
    """Return what this process has: its models, once they are loaded. The context of CUDA is not told apart."""
    device_bytes = torch.cuda.memory_allocated() if torch.cuda.is_available() else 0
    return MemoryAmount(psutil.Process().memory_info().rss, device_bytes)


def _iterate_container_limits() -> Iterator[int]:
    return (allowed - used for allowed, used in _iterate_containers())


def _iterate_containers() -> Iterator[tuple[int, int]]:
    """Yield the limit of each control group, and what it uses without what it would give back."""
    for limit, usage, cache in _CGROUPS:
        try:
            allowed, used = limit.read_text().strip(), int(usage.read_text())
            rows = dict(line.split() for line in (limit.parent / "memory.stat").read_text().splitlines())
        except (OSError, ValueError):
            continue  # no control groups of this version
        if allowed != "max":
            yield int(allowed), used - int(rows.get(cache, 0))


def _read_device_bytes() -> int:
    if not torch.cuda.is_available():
        return 0
    free_bytes, _ = torch.cuda.mem_get_info()
    return int(free_bytes) + torch.cuda.memory_reserved() - torch.cuda.memory_allocated()


class MemoryBudget:
    """Admits stages of one process by their predicted memory."""

    def __init__(
        self,
        read_free: Callable[[], MemoryAmount] = read_free_memory,
        release: Callable[[], None] = lambda: None,
        read_total: Callable[[], MemoryAmount] = read_total_memory,
    ) -> None:
        """`release` lets go of what is only kept in case; it is called before anything is made to wait."""
        self._read_total = read_total
        self._read_free = read_free
        self._release = release
        self._held = MemoryAmount()
        self._holders = 0
        self._free_at_rest = MemoryAmount()
        self._possible = MemoryAmount()
        self._changed = threading.Condition()

    def admit(self, need: MemoryAmount) -> AbstractContextManager[bool]:
        """As `hold`, but let through what would not fit if nothing else ran here: no waiting helps it.

        The stage ends it with `require_possible`. While others run that cannot be known of more than was ever possible:
        then it yields False.
        """
        with self._changed:
            possible, is_known = self._find_possible(need), not self._holders
        return self.hold(need) if need.fits(possible) else nullcontext(enter_result=is_known)

    def require_possible(self, need: MemoryAmount) -> None:
        """Raise Unanswerable when `need` is more than there is at all, by what `admit` went by."""
        with self._changed:
            was_asked = self._possible != MemoryAmount()
            possible = self._possible if was_asked else self._find_possible(need)
        if need.fits(possible):
            return
        is_host = need.host_bytes > possible.host_bytes
        kind, needed, there = (
            ("main memory", need.host_bytes, possible.host_bytes)
            if is_host
            else ("GPU memory", need.device_bytes, possible.device_bytes)
        )
        raise Unanswerable(
            ProblemCode.MEMORY_INSUFFICIENT,
            f"The model needs {needed / GIB:.1f} GiB of {kind} for this volume; its worker has {there / GIB:.1f} GiB.",
            needed_bytes=needed,
            available_bytes=there,
        )

    def _find_possible(self, need: MemoryAmount) -> MemoryAmount:
        """Return the most that a stage can have here, as far as `need` asks for it: no waiting makes it more.

        It is read while no stage runs: what a stage takes would pass for this process's own.
        """
        with self._changed:
            if not need.fits(self._possible) and not self._holders:
                self._release()
                self._possible = self._possible.or_more(self._read_total())
            return self._possible

    @contextmanager
    def hold(self, need: MemoryAmount) -> Iterator[bool]:
        """Yield True while `need` is set aside, False where there is no room for it.

        Waits for other stages of this process, whose end makes room.
        """
        with self._changed:
            self._changed.wait_for(lambda: not self._holders or self._fits(need), LONGEST_WAIT_S)
            is_held = self._fits(need)
            if is_held:
                self._take(need)
        try:
            yield is_held
        finally:
            if is_held:
                self._give_back(need)

    def _fits(self, need: MemoryAmount) -> bool:
        free = self._read_free()
        if not need.fits(free):
            self._release()
            free = self._read_free()
        return need.fits(free) and (not self._holders or need.fits(self._free_at_rest - self._held))

    def _take(self, need: MemoryAmount) -> None:
        if not self._holders:
            self._free_at_rest = self._read_free()
        self._holders += 1
        self._held += need

    def _give_back(self, need: MemoryAmount) -> None:
        with self._changed:
            self._holders -= 1
            self._held -= need
            self._changed.notify_all()
