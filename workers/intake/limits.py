"""How much an upload may ask of us. Everything that a file declares is checked against these before it is believed."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING

from shared.byte_units import GIB
from shared.stages import STAGES, StageName

if TYPE_CHECKING:
    from shared.settings import Settings

LONGEST_NAME = 255
"""Characters of an entry's name that are kept."""

LARGEST_SIDE = 4096
"""Rows and columns of one image. Scanners make 512 to 2048."""

LARGEST_FIELD_MM = 1000.0
"""Height and width of one image. Scanners reach 500, and some 820 where they extrapolate."""

LARGEST_STEP_MM = 20.0
"""From slice to slice. Single slices of the lung are taken every 10 or 20."""

LARGEST_EXTENT_MM = 3000.0
"""From the first slice to the last. Tables move by some 2000."""

MOST_FRAMES = 20_000
"""Frames of one file."""

DEEPEST_NESTING = 64
"""Sequences inside sequences. Real files stay under ten."""

MOST_ELEMENTS = 200_000
"""Data elements read in one file, those inside sequences included."""

FREE_ELEMENTS = 5_000
"""Data elements of a file that do not count against the study. A slice has some 200."""

SPARE_ELEMENTS = 2_000_000
"""Data elements beyond the free ones in all files of a study; reading as many takes some 10 seconds."""

# A crash is tried twice, and the stage's own limit must not come first.
_ATTEMPTS_WITHIN_STAGE = 2.2


@dataclass(frozen=True)
class IntakeLimits:
    """Budgets of one study.

    `archive_bytes` counts what comes out of the decompressor, `archive_depth` is 1 where ZIPs inside the archive are
    opened, `memory_bytes` is the child's address space, `threads` decode side by side.
    """

    archive_bytes: int = 8 * GIB
    archive_entries: int = 50_000
    archive_depth: int = 0
    memory_bytes: int = 6 * GIB
    threads: int = field(default_factory=lambda: len(os.sched_getaffinity(0)))
    time: timedelta = STAGES[StageName.INTAKE].time_limit / _ATTEMPTS_WITHIN_STAGE

    @property
    def volume_bytes(self) -> int:
        """Largest int16 volume: resampling holds two, and the decoders need room beside them."""
        return self.memory_bytes // 3


def make_limits(settings: Settings) -> IntakeLimits:
    """Return the limits that an operator has set."""
    return IntakeLimits(
        archive_bytes=settings.archive_limit_bytes,
        archive_entries=settings.archive_limit_entries,
        archive_depth=settings.archive_nesting,
        memory_bytes=settings.intake_memory_limit_bytes,
        threads=settings.intake_threads or len(os.sched_getaffinity(0)),
    )
