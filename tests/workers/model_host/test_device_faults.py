"""A device that fails costs its process, not the study."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from shared.errors import SpoiledProcess
from workers.model_host.device_faults import translated_device_faults

ENDS_ITSELF = """
import pathlib, signal, sys
from shared.settings import Settings
from workers.runtime.retirement import Retirement
signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))
retirement = Retirement()
retirement.begin("not armed: nothing happens")
required = dict.fromkeys(("database_url", "storage_endpoint", "storage_access_key", "storage_secret_key"), "x")
ready_file = pathlib.Path(sys.argv[1])
retirement.arm(Settings(**required, ready_file=ready_file))
assert ready_file.exists()
retirement.begin("of the test")
signal.pause()
"""


class TestDeviceFaults:
    @pytest.mark.parametrize(
        ("error", "code"),
        [
            (torch.OutOfMemoryError("CUDA out of memory."), "memory_insufficient"),
            (torch.AcceleratorError("CUDA error"), "internal_error"),
            (MemoryError(), "memory_insufficient"),
        ],
        ids=["device memory", "device", "main memory"],
    )
    def test_spoil_their_process(self, error: Exception, code: str) -> None:
        with pytest.raises(SpoiledProcess) as caught, translated_device_faults():
            raise error
        assert caught.value.code == code

    def test_are_told_from_bugs(self) -> None:
        with pytest.raises(ValueError, match="of ours"), translated_device_faults():
            raise ValueError("of ours")


class TestRetirement:
    def test_makes_a_worker_unready_and_stops_it(self, tmp_path: Path) -> None:
        ready_file = tmp_path / "ready"
        ready_file.touch()
        ended = subprocess.run([sys.executable, "-c", ENDS_ITSELF, str(ready_file)], check=False, timeout=60)
        assert ended.returncode == 7
        assert not ready_file.exists()
