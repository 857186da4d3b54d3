"""The predecessor's rule for choosing a series, kept exact so that its answers can be reproduced.

Lung kernels first, then standard ones, then any; the most slices win, ties go to the series met first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

FEWEST_SLICES = 20
_LUNG = ("LUNG", "B70", "B80", "FC51", "FC81")
_STANDARD = ("STANDARD", "B30", "B31", "FC30")


@dataclass(frozen=True)
class SeriesSummary:
    """What the rule looks at. `kernel` is None when the attribute is absent; then `filter_type` stands for it."""

    uid: str
    kernel: str | Sequence[str] | None
    filter_type: str | None
    slices: int


def choose_like_predecessor(series: Sequence[SeriesSummary]) -> str | None:
    """Return the uid of the series that the predecessor would read, or None when it would refuse the study."""
    usable = [one for one in series if one.slices >= FEWEST_SLICES]
    for names in (_LUNG, _STANDARD, ("",)):
        fitting = [one for one in usable if any(name in _describe_kernel(one) for name in names)]
        if fitting:
            return max(fitting, key=lambda one: one.slices).uid
    return None


def _describe_kernel(series: SeriesSummary) -> str:
    """Return the kernel as the predecessor saw it: several values become the text of a Python list."""
    if series.kernel is None:
        return (series.filter_type or "").upper()
    text = series.kernel if isinstance(series.kernel, str) else str(list(series.kernel))
    return text.upper()
