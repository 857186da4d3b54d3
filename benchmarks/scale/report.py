"""Percentiles side by side, as a table and as JSON."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import median, quantiles

MOST_TIMES = 3.0
"""How many times longer the p95 of an operation with a limit may take on the full database than on the empty one."""

_NEGLIGIBLE_MS = 5.0
"""Below this a ratio says more about the machine than about the database."""


@dataclass(frozen=True)
class Measured:
    """Milliseconds of one operation on both databases."""

    name: str
    samples: int
    empty_p50_ms: float
    empty_p95_ms: float
    full_p50_ms: float
    full_p95_ms: float
    limit_ms: float | None

    @property
    def ratio(self) -> float:
        """How many times longer p95 is on the full database."""
        return self.full_p95_ms / self.empty_p95_ms

    @property
    def is_kept(self) -> bool:
        """Whether what is promised holds."""
        if self.limit_ms is None:
            return True
        is_alike = self.ratio <= MOST_TIMES or self.full_p95_ms <= _NEGLIGIBLE_MS
        return self.full_p95_ms < self.limit_ms and is_alike


def compare(name: str, empty_s: Sequence[float], full_s: Sequence[float], limit_ms: float | None) -> Measured:
    """Return the percentiles of seconds measured on both databases."""
    values = (_percentiles_ms(empty_s), _percentiles_ms(full_s))
    return Measured(name, len(full_s), *values[0], *values[1], limit_ms)


def _percentiles_ms(seconds: Sequence[float]) -> tuple[float, float]:
    if not seconds:
        return math.nan, math.nan
    if len(seconds) == 1:  # has no quantiles
        seconds = [*seconds, *seconds]
    return 1000 * median(seconds), 1000 * quantiles(seconds, n=20, method="inclusive")[-1]


def render(rows: Sequence[Measured]) -> str:
    """Return the table that people read."""
    head = f"{'':26}{'empty':>18}{'full':>18}{'ratio':>8}{'limit':>9}"
    units = f"{'':26}{'p50 / p95 ms':>18}{'p50 / p95 ms':>18}{'of p95':>8}{'ms':>9}"
    return "\n".join([head, units, *map(_render_row, rows)])


def _render_row(row: Measured) -> str:
    empty = f"{row.empty_p50_ms:.1f} / {row.empty_p95_ms:.1f}"
    full = f"{row.full_p50_ms:.1f} / {row.full_p95_ms:.1f}"
    limit = "" if row.limit_ms is None else f"{row.limit_ms:.0f}{'' if row.is_kept else ' !'}"
    return f"{row.name:26}{empty:>18}{full:>18}{row.ratio:>8.2f}{limit:>9}"


def to_document(rows: Sequence[Measured]) -> list[dict[str, object]]:
    """Return the table for programs."""
    return [{**asdict(row), "ratio": round(row.ratio, 3), "is_kept": row.is_kept} for row in rows]
