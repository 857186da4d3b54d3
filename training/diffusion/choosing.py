"""Choosing how to reconstruct, on validation studies: start and noise level, then guidance, then effort.

Each is judged with the smoothing that suits it best, by pointing game and Dice together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from training.diffusion.localisation import Maps, compute_dice, find_best_threshold, find_hits
from training.diffusion.mapping import Candidate, Mapper, Targets
from workers.diffusion.configuration import MapShape
from workers.diffusion.map_refining import refine

ENCODED_LEVELS = (200,)
DRAWN_LEVELS = (300, 400, 500)
SCALES = (0.0, 10.0)
STEPS = (2,)
DRAWS, MORE_DRAWS = 2, 6
SMOOTHINGS_MM = (0.0, 3.0, 6.0, 9.0, 12.0, 16.0, 20.0)
FIRST = Candidate(draws=0, noise_level=200, classifier_scale=10.0, steps=4)

Report = Callable[[str], None]


@dataclass(frozen=True)
class Choice:
    """How maps are refined and cut, and what that is worth on the validation studies."""

    shape: MapShape
    hits: float
    dice: float

    @property
    def worth(self) -> float:
        """What the choice is made by."""
        return self.hits + self.dice


@dataclass(frozen=True)
class Tried:
    """A way to reconstruct, with the refining that suits it best."""

    candidate: Candidate
    choice: Choice


def choose_reconstruction(
    mapper: Mapper, targets: Targets, pixel_mm: tuple[float, float], report: Report
) -> tuple[Tried, list[Tried]]:
    """Return the best, and all that were tried."""
    tried: list[Tried] = []
    for vary in (_vary_start, _vary_scale, _vary_effort):
        best = max(tried, key=lambda each: each.choice.worth).candidate if tried else FIRST
        for candidate in vary(best):
            if candidate not in [each.candidate for each in tried]:
                choice = choose_refining(mapper.make_maps(candidate, targets), targets, pixel_mm)
                tried.append(Tried(candidate, choice))
                report(f"{candidate}: pointing {choice.hits:.3f}, Dice {choice.dice:.3f}")
    return max(tried, key=lambda each: each.choice.worth), tried


def choose_refining(maps: Maps, targets: Targets, pixel_mm: tuple[float, float]) -> Choice:
    """Return the smoothing and the threshold that suit some maps best."""
    return max(_try_refinings(maps, targets, pixel_mm), key=lambda choice: choice.worth)


def choose_threshold(maps: Maps, targets: Targets) -> Choice:
    """Return the threshold that suits some maps best as they are, neither smoothed nor cut to the body."""
    threshold = round(find_best_threshold(maps, targets.lesions), 1)
    hits, dice = find_hits(maps, targets.lesions), compute_dice(maps, targets.lesions, threshold)
    return Choice(MapShape(threshold_hu=threshold), float(hits.mean()), float(dice.mean()))


def _try_refinings(maps: Maps, targets: Targets, pixel_mm: tuple[float, float]) -> Iterator[Choice]:
    for smoothing_mm in SMOOTHINGS_MM:
        shape = MapShape(is_body_only=True, smoothing_mm=smoothing_mm)
        refined = refine(maps, targets.images, shape, pixel_mm)
        threshold = round(find_best_threshold(refined, targets.lesions), 1)
        hits = find_hits(refined, targets.lesions).mean()
        dice = compute_dice(refined, targets.lesions, threshold).mean()
        yield Choice(replace(shape, threshold_hu=threshold), float(hits), float(dice))


def _vary_start(best: Candidate) -> Sequence[Candidate]:
    encoded = [replace(best, draws=0, noise_level=level) for level in ENCODED_LEVELS]
    # The classifier has not seen so much noise: without it first.
    return encoded + [
        Candidate(draws=DRAWS, noise_level=level, classifier_scale=0.0, steps=1) for level in DRAWN_LEVELS
    ]


def _vary_scale(best: Candidate) -> Sequence[Candidate]:
    return [replace(best, classifier_scale=scale) for scale in SCALES]


def _vary_effort(best: Candidate) -> Sequence[Candidate]:
    more_draws = [replace(best, draws=MORE_DRAWS)] if best.draws else []
    return [*(replace(best, steps=steps) for steps in STEPS), *more_draws]
