"""In which arithmetic networks run."""

from __future__ import annotations

from enum import StrEnum


class Precision(StrEnum):
    """Arithmetic of a network."""

    FP32 = "fp32"
    BF16 = "bf16"


class PrecisionChoice(StrEnum):
    """Arithmetic that is asked for; `AUTO` leaves it to what was measured of each model."""

    AUTO = "auto"
    FP32 = "fp32"
    BF16 = "bf16"
