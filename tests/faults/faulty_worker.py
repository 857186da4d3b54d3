"""`python -m tests.faults.faulty_worker`: a worker whose networks fail while a file says so, as a device fails them.

The warm-up at the start is spared: it runs in the main thread.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import nn
from torch.nn.modules.module import register_module_forward_pre_hook

from tests.faults.fault_file import FAULT_FILE, ONCE
from workers.__main__ import main

FAULTS: Mapping[str, Callable[[], Exception]] = {
    "out_of_memory": lambda: torch.OutOfMemoryError("CUDA out of memory."),
    "device_failed": lambda: torch.AcceleratorError("CUDA error: unspecified launch failure"),
    "defect": lambda: ValueError("a bug of the model"),
}


def install(path: Path) -> None:
    """Look before each module of each network whether it is to fail."""

    def look(_module: nn.Module, _arguments: tuple[object, ...]) -> None:
        if threading.current_thread() is threading.main_thread() or not path.exists():
            return
        said = path.read_text()
        if said.endswith(ONCE):
            path.unlink()
        raise FAULTS[said.removesuffix(ONCE)]()

    register_module_forward_pre_hook(look)


if __name__ == "__main__":
    install(Path(os.environ[FAULT_FILE]))
    main()
