"""How much noise lies over an image at each time, and at which times a trajectory stops.

Papers:  Ho et al., arXiv 2006.11239 (linear schedule); Nichol and Dhariwal, arXiv 2102.09672 (variance between two
         bounds); Song et al., "Denoising Diffusion Implicit Models", arXiv 2010.02502 (subsequences of times).
Licence: code ours (Apache-2.0), written from the papers.

A level is the share of the image's variance that is left, "alpha bar" in the papers: 1 is the clean image.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

_FIRST_BETA, _LAST_BETA = 1e-4, 0.02
_STEPS_OF_BETAS = 1000
"""Number of times for which the two betas were chosen; other numbers scale them, so that the last level is the same."""

CLEAN = 1.0

_Table = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Schedule:
    """Tables in float64, one value for each time."""

    betas: _Table
    levels: _Table

    @classmethod
    def make_linear(cls, steps: int) -> Schedule:
        """Return the linear schedule over a number of times."""
        scale = _STEPS_OF_BETAS / steps
        betas = np.asarray(np.linspace(scale * _FIRST_BETA, scale * _LAST_BETA, steps), np.float64)
        return cls(betas, np.asarray(np.cumprod(1 - betas), np.float64))

    @property
    def levels_before(self) -> _Table:
        """The level of each time's predecessor; that of time 0 is the clean image."""
        return np.append(CLEAN, self.levels[:-1])

    @property
    def log_posterior_variances(self) -> _Table:
        """Logarithm of the variance of x(t - 1) given x(t) and the image; that of time 0 would be -inf, so t = 1's."""
        variances = self.betas * (1 - self.levels_before) / (1 - self.levels)
        return np.asarray(np.log(np.append(variances[1], variances[1:])), np.float64)

    @property
    def posterior_weights(self) -> tuple[_Table, _Table]:
        """Weights of the image and of x(t) in the mean of x(t - 1)."""
        of_image = self.betas * np.sqrt(self.levels_before) / (1 - self.levels)
        of_noisy = (1 - self.levels_before) * np.sqrt(1 - self.betas) / (1 - self.levels)
        return of_image, of_noisy

    def get_level(self, time: int) -> float:
        """Return the level of a time."""
        return float(self.levels[time])


@dataclass(frozen=True)
class Stop:
    """One step of a trajectory: at which time the networks are asked, and to which level the step goes."""

    time: int
    target_level: float


def space_times(last: int, steps: int | None) -> tuple[int, ...]:
    """Return 0 and `last` and what lies evenly between them, `steps` + 1 rising times; every time without `steps`."""
    count = last if steps is None else min(max(steps, 1), last)
    return tuple(round(float(time)) for time in np.linspace(0, last, count + 1))


def plan_encoding(schedule: Schedule, times: Sequence[int]) -> tuple[Stop, ...]:
    """Return the steps from the first of some rising times to the last; the image is taken as being at the first."""
    return tuple(Stop(time, schedule.get_level(following)) for time, following in pairwise(times))


def plan_decoding(schedule: Schedule, times: Sequence[int]) -> tuple[Stop, ...]:
    """Return the steps from the last of some rising times down to each before it, and from the first to the image."""
    targets = [CLEAN, *(schedule.get_level(time) for time in times[:-1])]
    return tuple(Stop(time, target) for time, target in zip(times[::-1], targets[::-1], strict=True))


def list_repeated_times(noise_level: int, count: int) -> tuple[int, ...]:
    """Return the predecessor's times: `count` from `noise_level` - 1 to 0, cut to whole numbers, so some come twice."""
    return tuple(int(time) for time in np.linspace(noise_level - 1, 0, count))


def plan_repeated_decoding(schedule: Schedule, noise_level: int, count: int) -> tuple[Stop, ...]:
    """Return the predecessor's steps: all its times but the last, each to the time before it, come it once or twice."""
    levels = schedule.levels_before
    return tuple(Stop(time, float(levels[time])) for time in list_repeated_times(noise_level, count)[:-1])
