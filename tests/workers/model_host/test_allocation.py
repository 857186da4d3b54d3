"""Freed memory: used again while a network runs, handed back at the end of its turn."""

from __future__ import annotations

import subprocess
import sys

import pytest

from workers.model_host.allocation import return_freed_memory

PASSES, MEGABYTES = 20, 64

FILL = f"""
import resource, threading
import psutil
from workers.model_host.host import get_host

def count_faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

def fill():
    for _ in range({PASSES}):
        b"x" * ({MEGABYTES} << 20)

def run(work):
    thread = threading.Thread(target=work)  # stages run in threads
    thread.start()
    thread.join()
"""


def run(program: str) -> list[int]:
    done = subprocess.run([sys.executable, "-c", FILL + program], capture_output=True, text=True, check=True)
    return [int(line) for line in done.stdout.split()]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc is a matter of Linux")
class TestFreedMemory:
    def test_is_used_again_by_a_stage(self) -> None:
        faults = "run(fill); before = count_faults(); run(fill); print(count_faults() - before)"
        (usual,) = run(faults)
        (kept,) = run(f"get_host(); {faults}")
        assert usual > PASSES * 1000
        assert kept < usual / 20

    def test_is_handed_back_at_the_end_of_a_turn(self) -> None:
        resident = "psutil.Process().memory_info().rss >> 20"
        before, held, after = run(
            f"host = get_host(); print({resident}); run(fill); print({resident})\n"
            f"with host.take_turn(): fill()\nprint({resident})"
        )
        assert held - before > MEGABYTES / 2
        assert after - before < MEGABYTES / 4

    def test_may_be_handed_back_where_nothing_was_kept(self) -> None:
        return_freed_memory()
