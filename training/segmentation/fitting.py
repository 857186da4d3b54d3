"""Fitting the demo segmentation while its phantoms are still being made.

First on crops, which are cheap and different, then on windows as large as the stage's. New studies come in at a fixed
pace in steps, not in seconds: the same plan gives the same weights however fast the machine is, and a run that was cut
off goes on from its last checkpoint.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import cast

import numpy as np
import torch
from dynamic_network_architectures.architectures.unet import PlainConvUNet
from torch import Tensor

from training.kept_files import keep_checkpoint, read_checkpoint
from training.segmentation.augmentation import augment
from training.segmentation.examples import Example
from training.segmentation.growing import carry_over
from training.segmentation.labels import OUTPUTS, PAINTED, UNPAINTED
from training.segmentation.loss import compute_features, compute_loss
from training.segmentation.plan import Phase, SegmentationPlan
from training.segmentation.pointwise import speed_up_pointwise
from workers.segmentation.network import make_untrained
from workers.segmentation.predictor import Coarse, normalise
from workers.volume.label_map import Labels

Report = Callable[[str], None]
Opener = Callable[[], Iterator[Example]]

UNPAINTED_LOGIT = -20.0
"""What a label without examples gets in every voxel, where the mean of those with examples is 0."""

_FEWEST_STUDIES = 4

_STEPS_TOLD = 25
"""Steps from one checkpoint, and one line of progress, to the next."""


def fit(plan: SegmentationPlan, open_examples: Opener, state: Path, report: Report) -> tuple[PlainConvUNet, float]:
    """Fit all parts of a plan, and return the network in inference mode and the seconds that it took.

    `open_examples` returns the training examples from the first on.
    """
    fitted: PlainConvUNet | None = None
    seconds = 0.0
    for number, part in enumerate(plan.parts):
        fitting = Fitting(plan, number, state, report)
        if fitted is not None and fitting.is_new:
            fitting.begin_from(fitted, open_examples())
        report(f"part {number + 1} of {len(plan.parts)}: {part.steps} steps")
        fitted = fitting.run(open_examples())
        seconds += fitting.seconds
    assert fitted is not None
    silence_unpainted(fitted)
    return fitted.eval().requires_grad_(requires_grad=False), seconds


class Fitting:
    """Network, optimiser and schedule of one part of a run, counted from 0."""

    def __init__(
        self, plan: SegmentationPlan, number: int, state: Path, report: Report, steps_told: int = _STEPS_TOLD
    ) -> None:
        torch.manual_seed(plan.seed)
        self._plan = plan
        self._number, self._part = number, plan.parts[number]
        self._checkpoint = state / f"checkpoint-{number + 1}.pt"
        self._report = report
        self._steps_told = steps_told
        self._network = make_untrained(plan.make_architecture(self._part), OUTPUTS).train()
        speed_up_pointwise(self._network)
        self._optimiser = torch.optim.AdamW(
            self._network.parameters(), lr=self._part.peak_rate, weight_decay=plan.weight_decay
        )
        self._schedule = torch.optim.lr_scheduler.OneCycleLR(
            self._optimiser,
            self._part.peak_rate,
            total_steps=self._part.steps + self._part.unmade_steps + 1,
            pct_start=self._part.warm_up_share,
        )
        self._step, self._earlier_seconds = 0, 0.0
        self._started = time.monotonic()
        self._restore()

    @property
    def is_new(self) -> bool:
        """Whether no step was made yet."""
        return self._step == 0

    def begin_from(self, narrow: PlainConvUNet, examples: Iterator[Example]) -> None:
        """Take over what the network of the part before knows, with the spread of its features in a few examples."""
        few = list(islice(examples, _FEWEST_STUDIES))
        volumes, _ = self._draw(few, self._part.phases[0], self._make_generator())
        with torch.no_grad():
            carry_over(narrow, self._network, compute_features(narrow, volumes, skipped=1)[1])

    @property
    def seconds(self) -> float:
        """How long this run and those that it goes on from took."""
        return self._earlier_seconds + time.monotonic() - self._started

    def run(self, examples: Iterator[Example]) -> PlainConvUNet:
        """Fit on examples as they come, and return the network."""
        seen: list[Example] = []
        losses = []
        while self._step < self._part.steps:
            while len(seen) < self._count_arrived():
                seen.append(next(examples))
            losses.append(self._learn(seen))
            self._step += 1
            if self._step % self._steps_told == 0 or self._step == self._part.steps:
                self._save()
                self._tell(losses[-self._steps_told :], len(seen))
        return self._network

    def _count_arrived(self) -> int:
        share = (self._step + 1) / (self._plan.arrival_share * self._part.steps)
        return min(self._plan.training_studies, max(_FEWEST_STUDIES, int(share * self._plan.training_studies)))

    def _make_generator(self) -> np.random.Generator:
        """Return the generator of this step, counted over all parts."""
        earlier = sum(part.steps for part in self._plan.parts[: self._number])
        return np.random.default_rng((self._plan.seed, earlier + self._step))

    def _draw(self, seen: list[Example], phase: Phase, rng: np.random.Generator) -> tuple[Tensor, list[Labels]]:
        """Return augmented crops (b, 1, z, y, x), prepared as the stage does, and their labels."""
        drawn = rng.integers(len(seen), size=phase.batch)
        crops = [augment(seen[int(index)], phase.size_zyx, rng, self._plan.ranges) for index in drawn]
        # Augmented HU are no whole numbers; the stage's own normalising takes them all the same.
        volumes = [normalise(cast("Coarse", hu), self._plan.preprocessing) for hu, _ in crops]
        return torch.from_numpy(np.stack(volumes)[:, None]), [labels for _, labels in crops]

    def _learn(self, seen: list[Example]) -> float:
        phase, rng = self._part.find_phase(self._step), self._make_generator()
        volumes, labels = self._draw(seen, phase, rng)
        features = compute_features(self._network, volumes, skipped=phase.skipped_stages)
        loss = compute_loss(self._network, features, labels, self._plan, rng)
        loss.backward()  # type: ignore[no-untyped-call]  # of torch
        torch.nn.utils.clip_grad_norm_(self._network.parameters(), 1.0)
        self._optimiser.step()
        self._optimiser.zero_grad()
        self._schedule.step()
        return loss.item()

    def _tell(self, losses: list[float], studies: int) -> None:
        share = self._step / self._part.steps
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
