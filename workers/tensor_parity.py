"""Reference vectors, and the comparison of a tensor of ours with one."""

from __future__ import annotations

import math
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from shared.errors import Defect
from workers.parity import ParityCheck


def compare(stage: str, found: Tensor, expected: Tensor, tolerance: float) -> ParityCheck:
    """Return the largest absolute error; infinite when the shapes differ."""
    if found.shape != expected.shape:
        return ParityCheck(stage, math.inf, tolerance)
    return ParityCheck(stage, float((found - expected).abs().max()), tolerance)


def load_golden(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a file of the golden folder. Raises Defect when it is damaged."""
    try:
        return load_file(path)
    except SafetensorError as error:
        raise Defect(f"{path.name} of the golden folder is no safetensors file, or it is cut off: {error}") from error
