"""Opening PyTorch checkpoints of others: tensors and plain values only, memory mapped, nothing that could run code."""

from __future__ import annotations

import _codecs
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy._core.multiarray import scalar

from shared.errors import Defect

# Trainers put NumPy's scalars beside the tensors (metrics). These names make scalars and nothing else; the first is
# what NumPy 1 called the second.
_SCALARS: list[Callable[..., object] | tuple[Callable[..., object], str]] = [
    (scalar, "numpy.core.multiarray.scalar"),
    (scalar, "numpy._core.multiarray.scalar"),
    np.dtype,
    _codecs.encode,
    *(type(np.dtype(kind)) for kind in ("bool", "int32", "int64", "float16", "float32", "float64")),
]


def open_checkpoint(path: Path) -> object:
    """Return what a checkpoint holds, its tensors on the CPU and read when they are used.

    Raises Defect when it holds more than tensors, plain values and NumPy scalars, or is no checkpoint.
    """
    try:
        with torch.serialization.safe_globals(_SCALARS):
            return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except pickle.UnpicklingError as error:
        raise Defect("the checkpoint holds more than tensors, so it is not opened: it could run code") from error
    except (OSError, EOFError, RuntimeError, ValueError) as error:
        raise Defect("the checkpoint cannot be read as a PyTorch file") from error
