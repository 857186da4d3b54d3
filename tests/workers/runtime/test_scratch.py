"""Scratch folders: nothing of a study stays on the disk after the process that unpacked it was killed."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

from workers.runtime.scratch import take_scratch

UNPACK_AND_DIE = """
import os, signal, sys
from pathlib import Path
from workers.runtime.scratch import take_scratch
(take_scratch(Path(sys.argv[1])) / "slices").write_bytes(b"voxels")
os.kill(os.getpid(), signal.SIGKILL)
"""


class TestScratch:
    def test_what_a_killed_process_left_goes_at_the_next_start(self, tmp_path: Path) -> None:
        killed = subprocess.run([sys.executable, "-c", UNPACK_AND_DIE, str(tmp_path)], check=False, timeout=60)
        assert killed.returncode == -signal.SIGKILL
        assert len(list(tmp_path.glob("*/slices"))) == 1
        taken = take_scratch(tmp_path)
        assert list(tmp_path.iterdir()) == [taken]

    def test_what_a_living_process_has_stays(self, tmp_path: Path) -> None:
        first = take_scratch(tmp_path)
        second = take_scratch(tmp_path)
        assert set(tmp_path.iterdir()) == {first, second}
