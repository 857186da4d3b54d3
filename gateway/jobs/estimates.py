"""When a job may end, judged by what was measured: how long the latest jobs of the same models took. Pure.

Nothing is assumed of machines or of how stages overlap: a sample is the time from a job's start to its end as it was.
Where nothing alike was measured there is no estimate.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise

from shared.stages import StageName

_LONGEST_POLL_S = 30
_SHORTEST_POLL_S = 1


@dataclass(frozen=True)
class Sample:
    """A job that ended with a result: when it was submitted, begun, read and ended, and the models that ran."""

    models: frozenset[StageName]
    created_at: datetime
    begun_at: datetime
    read_at: datetime
    ended_at: datetime


@dataclass(frozen=True)
class Standing:
    """Where an open job stands. `ahead` counts the open jobs that come before it."""

    models: frozenset[StageName]
    begun_at: datetime | None
    read_at: datetime | None
    ahead: int
    now: datetime


@dataclass(frozen=True)
class Estimate:
    """Seconds until the end: half of the jobs like it take no longer than the first, nine of ten than the second."""

    p50_s: float
    p90_s: float

    @property
    def poll_after_s(self) -> int:
        """When to look again: half of what is left, so that looking grows denser towards the end."""
        return max(_SHORTEST_POLL_S, min(_LONGEST_POLL_S, math.ceil(self.p50_s / 2)))


def estimate(samples: Sequence[Sample], standing: Standing) -> Estimate | None:
    """Return when a job may end, or None where nothing like it was measured."""
    alike = [sample for sample in samples if sample.models == standing.models]
    left_s = _list_left(alike, standing)
    if not left_s:
        return None
    # Where jobs queue, one ends after the other, whatever each takes by itself.
    gaps_s = list_gaps(samples)
    queue_s = [standing.ahead * _get_quantile(gaps_s, share) if gaps_s else 0.0 for share in (0.5, 0.9)]
    half, most = (max(_get_quantile(left_s, share), wait) for share, wait in zip((0.5, 0.9), queue_s, strict=True))
    return Estimate(round(half, 1), round(most, 1))


def list_gaps(samples: Sequence[Sample]) -> list[float]:
    """Return the seconds between the ends of successive jobs, where the later one was waiting for the earlier."""
    ordered = sorted(samples, key=lambda sample: sample.ended_at)
    return [
        (later.ended_at - earlier.ended_at).total_seconds()
        for earlier, later in pairwise(ordered)
        if later.created_at < earlier.ended_at
    ]


def _list_left(samples: Sequence[Sample], standing: Standing) -> list[float]:
    """Return what each sample would still take; those that would have ended by now say nothing."""
    if standing.read_at is not None:
        elapsed_s = (standing.now - standing.read_at).total_seconds()
        took_s = [(sample.ended_at - sample.read_at).total_seconds() for sample in samples]
    else:
        begun_at = standing.begun_at or standing.now
        elapsed_s = (standing.now - begun_at).total_seconds()
        took_s = [(sample.ended_at - sample.begun_at).total_seconds() for sample in samples]
    return [took - elapsed_s for took in took_s if took > elapsed_s]


def _get_quantile(values: Sequence[float], share: float) -> float:
    """Return the value that a share of all does not exceed (nearest rank)."""
    return sorted(values)[math.ceil(share * len(values)) - 1]
