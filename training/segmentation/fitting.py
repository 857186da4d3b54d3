"""Fitting the demo segmentation while its phantoms are still being made.

First on crops, which are cheap and different, then on windows as large as the stage's. New studies come in at a fixed
pace in steps, not in seconds: the same plan gives the same weights however fast the machine is, and a run that was cut
off goes on from its last checkpoint.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple, cast

import numpy as np
import numpy.typing as npt
import torch
from dynamic_network_architectures.architectures.unet import PlainConvUNet
from torch import Tensor

from training.kept_files import keep_checkpoint, read_checkpoint
from training.segmentation.augmentation import Crop, augment
from training.segmentation.examples import Example, Recipe, compute_recipe_digest
from training.segmentation.labels import BACKGROUND, OUTPUTS, PAINTED, UNPAINTED
from training.segmentation.loss import Weighing, compute_features, compute_loss
from training.segmentation.plan import Phase, SegmentationPlan
from training.segmentation.pointwise import speed_up_pointwise
from workers.segmentation.network import make_untrained
from workers.segmentation.predictor import Coarse, normalise
from workers.volume.label_map import Labels

Report = Callable[[str], None]
Weights = Mapping[str, Tensor]
Floats = npt.NDArray[np.float32]

PADDING = np.float32(0.0)
"""What the stage puts beyond a study that is smaller than its window, in prepared units."""

UNPAINTED_LOGIT = -20.0
"""What a label without examples gets in every voxel, where the mean of those with examples is 0."""

_FEWEST_STUDIES = 4

_STEPS_TOLD = 25
"""Steps from one checkpoint, and one line of progress, to the next."""


class Fitted(NamedTuple):
    """The network in inference mode, the seconds that it took, and the updates on phantoms of another generator.

    The latter are those of checkpoints from before the generator of the studies changed.
    """

    network: PlainConvUNet
    seconds: float
    updates_on_others: int


def fit(plan: SegmentationPlan, examples: Iterator[Example], state: Path, report: Report) -> Fitted:
    """Fit a plan."""
    assert plan.cycles
    weights: Weights | None = None
    seconds, on_others = 0.0, 0
    seen: list[Example] = []
    for number, cycle in enumerate(plan.cycles):
        fitting = Fitting(plan, number, weights, state, report)
        report(f"cycle {number + 1} of {len(plan.cycles)}: {cycle.steps} steps")
        fitted = fitting.run(seen, examples)
        weights, seconds = fitted.state_dict(), seconds + fitting.seconds
        on_others += fitting.updates_on_others
    silence_unpainted(fitted)
    return Fitted(fitted.eval().requires_grad_(requires_grad=False), seconds, on_others)


class Fitting:
    """Network, optimiser and schedule of one cycle of a plan, and the step that it has come to.

    `weights` are those of the cycle before; the first cycle begins at random.
    """

    def __init__(
        self,
        plan: SegmentationPlan,
        number: int,
        weights: Weights | None,
        state: Path,
        report: Report,
        *,
        steps_told: int = _STEPS_TOLD,
    ) -> None:
        torch.manual_seed(plan.seed)
        self._plan, self._number, self._cycle = plan, number, plan.cycles[number]
        self._ranges = plan.ranges.soften(self._cycle.strength)
        self._checkpoint = state / f"checkpoint-{number + 1}.pt"
        self._report = report
        self._steps_told = steps_told
        self._network = make_untrained(plan.architecture, OUTPUTS).train()
        if weights is not None:
            self._network.load_state_dict(weights)
        speed_up_pointwise(self._network)
        rate = self._cycle.peak_rate
        self._optimiser = torch.optim.AdamW(self._network.parameters(), lr=rate, weight_decay=plan.weight_decay)
        self._schedule = torch.optim.lr_scheduler.OneCycleLR(
            self._optimiser, rate, total_steps=self._cycle.steps + 1, pct_start=self._cycle.warm_up_share
        )
        self._recipe = compute_recipe_digest(Recipe(plan.training_settings, plan.prevalence))
        self._step, self._earlier_seconds, self.updates_on_others = 0, 0.0, 0
        self._started = time.monotonic()
        self._restore()

    @property
    def seconds(self) -> float:
        """How long this run and those that it goes on from took."""
        return self._earlier_seconds + time.monotonic() - self._started

    def run(self, seen: list[Example], examples: Iterator[Example]) -> PlainConvUNet:
        """Fit on examples that were seen, and more as they come, which are put to them. Return the network."""
        losses = []
        while self._step < self._cycle.steps:
            arrived = self._count_arrived()
            while len(seen) < arrived:
                seen.append(next(examples))
            losses.append(self._learn(seen[:arrived]))
            self._step += 1
            if self._step % self._steps_told == 0 or self._step == self._cycle.steps:
                self._save()
                self._tell(losses[-self._steps_told :], len(seen))
        return self._network

    def _count_arrived(self) -> int:
        studies = min(self._cycle.studies, self._plan.training_studies)
        if self._number:
            return studies
        share = (self._step + 1) / (self._plan.arrival_share * self._cycle.steps)
        return min(studies, max(_FEWEST_STUDIES, int(share * studies)))

    def _draw(self, seen: list[Example], phase: Phase, rng: np.random.Generator) -> tuple[Tensor, list[Labels]]:
        """Return augmented crops (b, 1, z, y, x), prepared as the stage does, and their labels."""
        drawn = rng.integers(len(seen), size=phase.batch)
        crops = [augment(seen[int(index)], phase.size_zyx, rng, self._ranges) for index in drawn]
        prepared = [self._prepare(crop, is_padded=phase.is_padded) for crop in crops]
        volumes, labels = zip(*prepared, strict=True)
        return torch.from_numpy(np.stack(volumes)[:, None]), list(labels)

    def _prepare(self, crop: Crop, *, is_padded: bool) -> tuple[Floats, Labels]:
        # Augmented HU are no whole numbers; the stage's own normalising takes them all the same.
        volume = normalise(cast("Coarse", crop.hu), self._plan.preprocessing)
        if not is_padded:
            return volume, crop.labels
        return np.where(crop.is_inside, volume, PADDING), np.where(crop.is_inside, crop.labels, np.uint8(BACKGROUND))

    def _make_generator(self) -> np.random.Generator:
        """Return the generator of this step, counted over all cycles."""
        earlier = sum(cycle.steps for cycle in self._plan.cycles[: self._number])
        return np.random.default_rng((self._plan.seed, earlier + self._step))

    def _learn(self, seen: list[Example]) -> float:
        phase, rng = self._cycle.find_phase(self._step), self._make_generator()
        volumes, labels = self._draw(seen, phase, rng)
        features = compute_features(self._network, volumes, skipped=phase.skipped_stages)
        weighing = Weighing(self._cycle.drawn_voxels, self._plan.first_weight, self._cycle.entropy_power)
        loss = compute_loss(self._network, features, labels, weighing, rng)
        loss.backward()  # type: ignore[no-untyped-call]  # of torch
        torch.nn.utils.clip_grad_norm_(self._network.parameters(), 1.0)
        self._optimiser.step()
        self._optimiser.zero_grad()
        self._schedule.step()
        return loss.item()

    def _tell(self, losses: list[float], studies: int) -> None:
        share = self._step / self._cycle.steps
        self._report(
            f"step {self._step} ({share:.0%}), {studies} studies, loss {np.mean(losses):.3f}, {self.seconds:.0f} s"
        )

    def _save(self) -> None:
        keep_checkpoint(
            self._checkpoint,
            {
                "network": self._network.state_dict(),
                "optimiser": self._optimiser.state_dict(),
                "schedule": self._schedule.state_dict(),
                "step": self._step,
                "seconds": self.seconds,
                "recipe": self._recipe,
                "updates_on_others": self.updates_on_others,
            },
        )

    def _restore(self) -> None:
        kept = read_checkpoint(self._checkpoint)
        if kept is None:
            return
        self._network.load_state_dict(kept["network"])
        self._optimiser.load_state_dict(kept["optimiser"])
        self._schedule.load_state_dict(kept["schedule"])
        self._step, self._earlier_seconds = int(kept["step"]), float(kept["seconds"])
        is_of_others = kept.get("recipe") != self._recipe
        self.updates_on_others = self._step if is_of_others else int(kept["updates_on_others"])
        self._report(f"going on from step {self._step}")


@torch.no_grad()
def silence_unpainted(network: PlainConvUNet) -> None:
    """Let labels without examples never be the largest, whatever the volume.

    Taking the mean over the other labels from each of them changes no choice, and then one of them is never below 0.
    """
    for layer in network.decoder.seg_layers:
        for values, silent in ((layer.weight, 0.0), (layer.bias, UNPAINTED_LOGIT)):
            values[list(PAINTED)] -= values[list(PAINTED)].mean(0)
            values[list(UNPAINTED)] = silent
