"""Batches for the slice classifier: the same patient with and without a finding, under the same noise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from training.augmentation import draw_noise, move
from training.diffusion.batches import AIR, add_noise, compute_levels, draw_steps
from training.diffusion.examples import Example
from training.diffusion.plan import SMALL_FINDINGS, DiffusionPlan, FittingPlan

_BRIGHTNESS = (0.95, 1.05)


@dataclass(frozen=True)
class LocatedBatch:
    """`noisy` (b, 1, x, y); `times` and `labels` (b,).

    `lesions` (b, 1, x, y) are 1 where a finding changed the slice by `CHANGED_HU` or more.
    """

    noisy: Tensor
    times: Tensor
    labels: Tensor
    lesions: Tensor


@dataclass(frozen=True)
class _Chosen:
    """Images and lesions (b, x, y): `pairs` slices with a finding, the same without it, then others without."""

    images: npt.NDArray[np.float16]
    lesions: npt.NDArray[np.float32]
    pairs: int

    def number_draws(self) -> npt.NDArray[np.int64]:
        """Return the number of the draw that each slice takes: one for both of a pair."""
        return np.concatenate([np.arange(self.pairs), np.arange(len(self.images) - self.pairs)])


class FindingPairs:
    """Slices that show one finding each, beside the same without it.

    A small finding is learnt from what it alone changes, and before the large ones: beside slices of other patients, or
    among pairs of all findings from the start, calcium was not learnt. Raises ValueError where no slice shows a small
    finding alone, or none a large one, or where lesions are not known.
    """

    def __init__(self, examples: Sequence[Example], plan: DiffusionPlan) -> None:
        self._plan, self._levels = plan, compute_levels(plan)
        groups = group_by_finding(examples)
        self._small = [places for name, places in groups.items() if name in SMALL_FINDINGS]
        self._large = [places for name, places in groups.items() if name not in SMALL_FINDINGS]
        if not (self._small and self._large):
            raise ValueError("training studies must show a small finding alone, and a large one")
        # One after another, not in one array: that would be a second copy of them all.
        self._images: list[npt.NDArray[np.float16]] = []
        self._healthy: list[npt.NDArray[np.float16]] = []
        self._lesions: list[npt.NDArray[np.bool_]] = []
        for example in examples:
            if example.healthy is None or example.lesions is None:
                raise ValueError(f"the lesions of study {example.seed} are not known")
            self._images.extend(example.images)
            self._healthy.extend(example.healthy)
            self._lesions.extend(example.lesions)

    def draw_first(self, rng: np.random.Generator) -> LocatedBatch:
        """Return slices with small findings, all clean."""
        return self._draw(self._plan.small_fitting, rng, small_share=1.0, clean_share=1.0)

    def draw(self, rng: np.random.Generator) -> LocatedBatch:
        """Return slices with all findings; a share of them clean, as the scores are made from."""
        plan = self._plan
        return self._draw(plan.classifier_fitting, rng, small_share=plan.small_share, clean_share=plan.clean_share)

    def _draw(
        self, fitting: FittingPlan, rng: np.random.Generator, *, small_share: float, clean_share: float
    ) -> LocatedBatch:
        pairs = self._plan.count_pairs(fitting)
        shown = [self._choose(rng, is_small=rng.random() < small_share) for _ in range(pairs)]
        others = rng.integers(len(self._images), size=fitting.batch - 2 * pairs).tolist()
        healthy = [self._healthy[place] for place in (*shown, *others)]
        images = np.stack([self._images[place] for place in shown] + healthy)
        lesions = np.zeros(images.shape, np.float32)
        lesions[:pairs] = [self._lesions[place] for place in shown]
        return self._disturb(_Chosen(images, lesions, pairs), clean_share, rng)

    def _choose(self, rng: np.random.Generator, *, is_small: bool) -> int:
        """Return the place of a slice: first a finding is drawn and then one of its slices, however many there are."""
        groups = self._small if is_small else self._large
        return int(rng.choice(groups[rng.integers(len(groups))]))

    def _disturb(self, chosen: _Chosen, clean_share: float, rng: np.random.Generator) -> LocatedBatch:
        """Move slices, change their brightness and lay noise over some, all alike for both of a pair."""
        draws, drawn = len(chosen.images) - chosen.pairs, chosen.number_draws()
        moves = [draw_steps(rng) for _ in range(draws)]
        steps = [moves[draw] for draw in drawn.tolist()]
        brightness = torch.from_numpy(rng.uniform(*_BRIGHTNESS, draws)[drawn]).float()[:, None, None, None]
        times = rng.integers(0, self._plan.last_time, draws) * (rng.random(draws) >= clean_share)
        told = torch.from_numpy(times[drawn])
        clean = _move_all(chosen.images.astype(np.float32), steps, AIR) * brightness
        noise = draw_noise((draws, *clean.shape[1:]), rng)[torch.from_numpy(drawn)]
        noisy = add_noise(clean, noise, self._levels[told])
        # A clean slice is as it is: time 0 of the process has a little noise already, and scores have none.
        noisy = torch.where((told == 0)[:, None, None, None], clean, noisy)
        labels = (torch.arange(len(clean)) < chosen.pairs).long()
        return LocatedBatch(noisy, told, labels, _move_all(chosen.lesions, steps, 0.0))


def group_by_finding(examples: Sequence[Example]) -> dict[str, npt.NDArray[np.int64]]:
    """Return the places of the pathological slices in the height of one finding alone, by its name in order.

    Places count through the slices of all examples. Findings without any are left out.
    """
    names = sorted({name for example in examples for name in example.findings})
    groups = {name: np.flatnonzero(np.concatenate([_show(example, name) for example in examples])) for name in names}
    return {name: places for name, places in groups.items() if len(places)}


def _show(example: Example, name: str) -> npt.NDArray[np.bool_]:
    if name not in example.findings:
        return np.zeros(len(example.images), bool)
    is_alone = example.spans.sum(axis=0) == 1
    return np.asarray(example.spans[example.findings.index(name)] & is_alone & (example.states == 1))


def _move_all(images: npt.NDArray[np.float32], steps: Sequence[tuple[int, int]], padding: float) -> Tensor:
    """Return images (n, x, y), each moved by its own steps, as (n, 1, x, y)."""
    channels = torch.from_numpy(images)[:, None]
    return torch.stack([move(image, each, padding) for image, each in zip(channels, steps, strict=True)])
