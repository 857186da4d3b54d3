"""Comparison of a tensor of ours with a reference vector."""

from __future__ import annotations

import math

from torch import Tensor

from workers.parity import ParityCheck


def compare(stage: str, found: Tensor, expected: Tensor, tolerance: float) -> ParityCheck:
    """Return the largest absolute error; infinite when the shapes differ."""
    if found.shape != expected.shape:
        return ParityCheck(stage, math.inf, tolerance)
    return ParityCheck(stage, float((found - expected).abs().max()), tolerance)
