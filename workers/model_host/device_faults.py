"""Errors of the device, in our words. A process is spoiled by one: memory stays taken, or the device is lost."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from shared.errors import SpoiledProcess
from shared.problems import ProblemCode
from workers.runtime.retirement import RETIREMENT


@contextmanager
def translated_device_faults() -> Iterator[None]:
    """Turn what PyTorch raises for the device into SpoiledProcess, and have this process end after its work."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        RETIREMENT.begin("out of memory")
        raise SpoiledProcess("the device ran out of memory", ProblemCode.MEMORY_INSUFFICIENT) from error
    except torch.AcceleratorError as error:
        RETIREMENT.begin("device failed")
        raise SpoiledProcess("the device failed", ProblemCode.INTERNAL_ERROR) from error
    except MemoryError as error:
        RETIREMENT.begin("out of memory")
        raise SpoiledProcess("the process ran out of memory", ProblemCode.MEMORY_INSUFFICIENT) from error
