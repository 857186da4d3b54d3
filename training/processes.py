"""Making things ahead in other processes, in order, while this one learns from those that are there."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context, parent_process
from typing import TypeVar

import torch

from workers.model_host.allocation import keep_freed_memory

_Task = TypeVar("_Task")
_Made = TypeVar("_Made")

_TASKS_AT_ONCE = 4


def make_ahead(make: Callable[[_Task], _Made], tasks: Sequence[_Task], processes: int) -> Iterator[_Made]:
    """Yield what `make` returns for each task, in order; processes of one thread each make them ahead.

    With no process they are made here, when they are asked for.
    """
    if not processes:
        yield from map(make, tasks)
        return
    pool = ProcessPoolExecutor(processes, get_context("spawn"), _start_process)
    try:
        yield from pool.map(make, tasks, chunksize=_TASKS_AT_ONCE)
    finally:
        pool.shutdown(cancel_futures=True)


def _start_process() -> None:
    torch.set_num_threads(1)
    keep_freed_memory()
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """End this process when its parent is gone, however it went; the pool would keep it for ever."""
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(0)
