"""Memory between two passes of a network: kept by the C library while a network runs, handed back afterwards.

glibc maps each block over 32 MB anew and unmaps it when it is freed, and the kernel clears every page of it again. One
study took the demo segmentation 4.5 million page faults and 18 of 43 seconds of a processor for them; with freed memory
kept it took 44 faults and 26 seconds.
"""

from __future__ import annotations

import ctypes
import platform
from functools import cache

_M_TRIM_THRESHOLD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -4, -8  # malloc.h


def keep_freed_memory() -> None:
    """Let this process use freed blocks again, large ones too, instead of handing them back; nothing without glibc.

    One arena for all threads: the others cannot hold large blocks.
    """
    library = _find_glibc()
    if library is None:
        return
    for option, value in ((_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, -1), (_M_ARENA_MAX, 1)):
        library.mallopt(option, value)


def return_freed_memory() -> None:
    """Hand back to the system what is free."""
    library = _find_glibc()
    if library is not None:
        library.malloc_trim(0)


@cache
def _find_glibc() -> ctypes.CDLL | None:
    return ctypes.CDLL(None) if platform.libc_ver()[0] == "glibc" else None
