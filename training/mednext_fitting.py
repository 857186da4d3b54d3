"""Fitting the demo MedNeXt while its phantoms are still being made, so that two cores are busy.

First mostly on crops, which are cheap and full of findings, then on whole studies, as the stage will see them. New
studies come in at a fixed pace in steps, not in seconds, and earlier ones are seen again meanwhile: the same plan gives
the same weights however fast the machine is, and a run that was cut off goes on from its last checkpoint.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from phantom.study import FINDINGS
from training.examples import Example
from training.fast_block import speed_up_training
from training.kept_files import keep_checkpoint, read_checkpoint
from training.mednext_batches import Batch, make_crop_batch, make_whole_batch
from training.mednext_loss import LocatingModel, compute_loss
from training.mednext_plan import CLASSES, Cycle, MedNeXtPlan
from workers.mednext.model import MedNeXt

Report = Callable[[str], None]

_WHOLE_TOGETHER, _CROPS_TOGETHER = 2, 8
"""Per pass: tensors stay under 32 MB, which the C library reuses instead of asking the kernel each time."""

_WARM_UP_SHARE = 0.15

_CHECKPOINT_STEPS = 100
_REPORT_STEPS = 50


class Fitting:
    """Model, optimiser and schedule of one run."""

    def __init__(self, plan: MedNeXtPlan, state: Path, report: Report) -> None:
        torch.manual_seed(plan.seed)
        self._plan = plan
        self._checkpoint = state / "checkpoint.pt"
        self._report = report
        self.model = MedNeXt(plan.architecture)
        self._learner = LocatingModel(self.model, len(FINDINGS)).train()
        self._learner.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]  # missing in its stubs
        speed_up_training(self.model)
        rate = plan.cycles[0].peak_rate
        self._optimiser = torch.optim.AdamW(self._learner.parameters(), lr=rate, weight_decay=plan.weight_decay)
        self._schedule = self._start_cycle(plan.cycles[0])
        self._visits = np.zeros(plan.training_studies, np.int64)
        self._step, self._earlier_seconds = 0, 0.0
        self._started = time.monotonic()
        self._restore()

    @property
    def seconds(self) -> float:
        """How long this run and those that it goes on from took."""
        return self._earlier_seconds + time.monotonic() - self._started

    def run(self, examples: Iterator[Example]) -> MedNeXt:
        """Fit on examples as they come, and return the model in inference mode."""
        seen: list[Example] = []
        losses: list[float] = []
        while self._step < self._plan.steps:
            while len(seen) < self._count_arrived():
                seen.append(next(examples))
            losses.append(self._learn(seen))
            self._step += 1
            number, cycle, begun = self._plan.find_place(self._step)
            if begun == 0:
                self._report(f"cycle {number + 1} of {len(self._plan.cycles)}")
                self._schedule = self._start_cycle(cycle)
            if self._step % _REPORT_STEPS == 0:
                self._tell(losses[-_REPORT_STEPS:], len(seen), self.seconds)
            if self._step % _CHECKPOINT_STEPS == 0:
                self._save()
        # A run that goes on from its last step has learnt from these already; they are not for measuring.
        for _ in range(self._plan.training_studies - len(seen)):
            next(examples)
        return self.model.eval().requires_grad_(requires_grad=False)

    def _start_cycle(self, cycle: Cycle) -> torch.optim.lr_scheduler.OneCycleLR:
        # One step more than there are: the schedule is moved on after the last one, too.
        return torch.optim.lr_scheduler.OneCycleLR(
            self._optimiser, cycle.peak_rate, total_steps=cycle.steps + 1, pct_start=_WARM_UP_SHARE
        )

    def _count_arrived(self) -> int:
        first = self._plan.cycles[0]
        share = (self._step + 1) / (self._plan.arrival_share * first.steps)
        return min(self._plan.training_studies, max(first.batch, int(share * self._plan.training_studies)))

    def _learn(self, seen: list[Example]) -> float:
        rng = np.random.default_rng((self._plan.seed, self._step))
        batch, together = self._make_batch(seen, rng)
        pos_weight = compute_pos_weight(self._plan)
        total = 0.0
        for part in batch.split(together):
            logits, maps = self._learner(part.volumes)
            loss = compute_loss(logits, maps, part, pos_weight)
            loss = loss * len(part.volumes) / len(batch.volumes)
            loss.backward()  # type: ignore[no-untyped-call]  # of torch
            total += loss.item()
        torch.nn.utils.clip_grad_norm_(self._learner.parameters(), 1.0)
        self._optimiser.step()
        self._optimiser.zero_grad()
        self._schedule.step()
        return total

    def _make_batch(self, seen: list[Example], rng: np.random.Generator) -> tuple[Batch, int]:
        plan, (_, cycle, step) = self._plan, self._plan.find_place(self._step)
        if step >= cycle.crop_steps:
            chosen = self._choose(len(seen), cycle.batch, rng)
            return make_whole_batch([seen[index] for index in chosen], rng, cycle.disturbance), _WHOLE_TOGETHER
        chosen = self._choose(len(seen), min(plan.crop_batch, len(seen)), rng)
        examples = [seen[index] for index in chosen]
        return make_crop_batch(examples, plan.crop_xyz, rng, cycle.disturbance), _CROPS_TOGETHER

    def _choose(self, count: int, size: int, rng: np.random.Generator) -> npt.NDArray[np.int64]:
        """Return half a batch of the least seen studies and half of any others."""
        half = size // 2
        order = np.argsort(self._visits[:count] + rng.random(count))
        chosen = np.concatenate([order[:half], rng.choice(order[half:], size - half, replace=False)])
        self._visits[chosen] += 1
        return chosen

    def _tell(self, losses: list[float], studies: int, seconds: float) -> None:
        share = self._step / self._plan.steps
        self._report(f"step {self._step} ({share:.0%}), {studies} studies, loss {np.mean(losses):.3f}, {seconds:.0f} s")

    def _describe_plan(self, cycles: int) -> str:
        """Return what decides the weights until the end of so many cycles; further ones may be added."""
        return repr(replace(self._plan, cycles=self._plan.cycles[:cycles]))

    def _save(self) -> None:
        place = self._plan.find_place(self._step)
        keep_checkpoint(
            self._checkpoint,
            {
                "learner": self._learner.state_dict(),
                "optimiser": self._optimiser.state_dict(),
                "schedule": self._schedule.state_dict(),
                "visits": torch.from_numpy(self._visits),
                "step": self._step,
                "plan": self._describe_plan(place.number + 1),
                "cycles": place.number + 1,
                "seconds": self.seconds,
            },
        )

    def _restore(self) -> None:
        kept = read_checkpoint(self._checkpoint)
        if kept is None:
            return
        cycles = int(kept.get("cycles", 0))
        if kept.get("plan") != self._describe_plan(cycles):
            self._report("the checkpoint is of another plan: beginning anew")
            return
        self._learner.load_state_dict(kept["learner"])
        self._visits = kept["visits"].numpy().copy()
        self._step, self._earlier_seconds = int(kept["step"]), float(kept["seconds"])
        place = self._plan.find_place(self._step)
        self._optimiser.load_state_dict(kept["optimiser"])
        self._schedule = self._start_cycle(place.cycle)
        if place.number < cycles:
            self._schedule.load_state_dict(kept["schedule"])
            # Starting the schedule wrote its first rate into the optimiser.
            self._optimiser.load_state_dict(kept["optimiser"])
        self._report(f"going on from step {self._step}")


def compute_pos_weight(plan: MedNeXtPlan) -> Tensor:
    """Return the weight of positive examples: the root of what would balance them, so that probabilities stay fair."""
    prevalence = plan.training_prevalence
    share = (1 - prevalence.normal) * (1 + prevalence.most_findings) / 2 / len(FINDINGS)
    shares = torch.tensor([prevalence.normal if name == "normal" else share for name in CLASSES])
    return torch.sqrt((1 - shares) / shares)
