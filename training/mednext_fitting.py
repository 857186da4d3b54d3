"""Fitting the demo MedNeXt while its phantoms are still being made, so that two cores are busy and few minutes pass.

New studies come in at a fixed pace in steps, not in seconds, and earlier ones are seen again meanwhile: the same plan
gives the same weights however fast the machine is, and a run that was cut off goes on from its last checkpoint.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from phantom.study import FINDINGS
from training.examples import Example
from training.fast_block import speed_up_training
from training.mednext_loss import LocatingModel, compute_loss
from training.mednext_plan import CLASSES, MedNeXtPlan
from workers.mednext.model import MedNeXt

Report = Callable[[str], None]

_MICRO_BATCH = 2
"""Studies per pass: tensors stay under 32 MB, which the C library reuses instead of asking the kernel each time."""

_LARGEST_SHIFT = 3
_CHECKPOINT_STEPS = 100
_REPORT_STEPS = 25


@dataclass(frozen=True)
class Batch:
    """`volumes` (b, 1, x, y, z); `targets` (b, classes); `places` float (b, findings, cells along x, y, z)."""

    volumes: Tensor
    targets: Tensor
    places: Tensor

    def split(self, size: int) -> Iterator[Batch]:
        """Yield the batch in parts."""
        for start in range(0, len(self.volumes), size):
            part = slice(start, start + size)
            yield Batch(self.volumes[part], self.targets[part], self.places[part])


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
        self._optimiser = torch.optim.AdamW(
            self._learner.parameters(), lr=plan.peak_rate, weight_decay=plan.weight_decay
        )
        self._schedule = torch.optim.lr_scheduler.OneCycleLR(
            self._optimiser, plan.peak_rate, total_steps=plan.steps, pct_start=0.2
        )
        self._visits = np.zeros(plan.training_studies, np.int64)
        self._step = 0
        self._restore()

    def run(self, examples: Iterator[Example]) -> MedNeXt:
        """Fit on examples as they come, and return the model in inference mode."""
        seen: list[Example] = []
        started, losses = time.monotonic(), []
        while self._step < self._plan.steps:
            while len(seen) < self._count_arrived():
                seen.append(next(examples))
            losses.append(self._learn(seen))
            self._step += 1
            if self._step % _REPORT_STEPS == 0:
                self._tell(losses[-_REPORT_STEPS:], len(seen), time.monotonic() - started)
            if self._step % _CHECKPOINT_STEPS == 0:
                self._save()
        return self.model.eval().requires_grad_(requires_grad=False)

    def _count_arrived(self) -> int:
        share = (self._step + 1) / (self._plan.arrival_share * self._plan.steps)
        return min(self._plan.training_studies, max(self._plan.batch, int(share * self._plan.training_studies)))

    def _learn(self, seen: list[Example]) -> float:
        rng = np.random.default_rng((self._plan.seed, self._step))
        chosen = self._choose(len(seen), rng)
        batch = make_training_batch([seen[index] for index in chosen], rng)
        pos_weight = compute_pos_weight(self._plan)
        total = 0.0
        for part in batch.split(_MICRO_BATCH):
            logits, maps = self._learner(part.volumes)
            loss = compute_loss(logits, maps, part.targets, part.places, pos_weight)
            loss = loss * len(part.volumes) / len(batch.volumes)
            loss.backward()  # type: ignore[no-untyped-call]  # of torch
            total += loss.item()
        torch.nn.utils.clip_grad_norm_(self._learner.parameters(), 1.0)
        self._optimiser.step()
        self._optimiser.zero_grad()
        self._schedule.step()
        return total

    def _choose(self, count: int, rng: np.random.Generator) -> npt.NDArray[np.int64]:
        """Return half a batch of the least seen studies and half of any others."""
        half = self._plan.batch // 2
        order = np.argsort(self._visits[:count] + rng.random(count))
        chosen = np.concatenate([order[:half], rng.choice(order[half:], self._plan.batch - half, replace=False)])
        self._visits[chosen] += 1
        return chosen

    def _tell(self, losses: list[float], studies: int, seconds: float) -> None:
        share = self._step / self._plan.steps
        self._report(f"step {self._step} ({share:.0%}), {studies} studies, loss {np.mean(losses):.3f}, {seconds:.0f} s")

    def _save(self) -> None:
        draft = self._checkpoint.with_suffix(".new")
        torch.save(
            {
                "learner": self._learner.state_dict(),
                "optimiser": self._optimiser.state_dict(),
                "schedule": self._schedule.state_dict(),
                "visits": torch.from_numpy(self._visits),
                "step": self._step,
            },
            draft,
        )
        draft.replace(self._checkpoint)

    def _restore(self) -> None:
        if not self._checkpoint.exists():
            return
        kept = torch.load(self._checkpoint, weights_only=True)
        self._learner.load_state_dict(kept["learner"])
        self._optimiser.load_state_dict(kept["optimiser"])
        self._schedule.load_state_dict(kept["schedule"])
        self._visits = kept["visits"].numpy().copy()
        self._step = int(kept["step"])
        self._report(f"going on from step {self._step}")


def make_volumes(examples: list[Example]) -> Tensor:
    """Return the inputs of examples, float32 (b, 1, x, y, z)."""
    return torch.from_numpy(np.stack([example.voxels for example in examples])).float()[:, None]


def make_targets(example: Example) -> npt.NDArray[np.float32]:
    """Return 0 or 1 for each of `CLASSES`; `normal` is the absence of every finding."""
    present = {name for name, has in zip(FINDINGS, example.has_finding, strict=True) if has} or {"normal"}
    return np.asarray([name in present for name in CLASSES], np.float32)


def make_training_batch(examples: list[Example], rng: np.random.Generator) -> Batch:
    """Return examples shifted, rescaled and with noise. Never flipped: the heart is on the left."""
    shifts = rng.integers(-_LARGEST_SHIFT, _LARGEST_SHIFT, (len(examples), 3), endpoint=True)
    moved = [_shift(volume, shift) for volume, shift in zip(make_volumes(examples), shifts, strict=True)]
    volumes = _disturb(torch.stack(moved), rng)
    targets = torch.from_numpy(np.stack([make_targets(example) for example in examples]))
    places = [_make_places(example, shift) for example, shift in zip(examples, shifts, strict=True)]
    return Batch(volumes, targets, torch.stack(places))


def _disturb(volumes: Tensor, rng: np.random.Generator) -> Tensor:
    scale = torch.from_numpy(rng.uniform(0.9, 1.1, (len(volumes), 1, 1, 1, 1))).float()
    level = torch.from_numpy(rng.uniform(0.0, 0.15, (len(volumes), 1, 1, 1, 1))).float()
    noise = torch.randn(volumes.shape, generator=torch.Generator().manual_seed(int(rng.integers(2**62))))
    return torch.where(volumes == 0, volumes, volumes * scale + noise * level)


def _make_places(example: Example, shift: npt.NDArray[np.int64]) -> Tensor:
    """Return the cells of the finest map that each finding touches (findings, x, y, z)."""
    cells = count_cells(example.voxels.shape)
    places = torch.zeros(len(FINDINGS), *cells)
    if example.places is not None and len(example.places):
        blocks = _shift(torch.from_numpy(example.places).float(), np.rint(shift / 2).astype(np.int64))
        touched = functional.adaptive_max_pool3d(blocks, cells)
        places[torch.from_numpy(example.has_finding)] = touched
    return places


def count_cells(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the size of the second stage, on which the finest map of findings lies."""
    # The stem takes kernel 3, stride 2, no padding; the down block kernel 3, stride 2, padding 1.
    return tuple(((size - 3) // 2 + 2) // 2 for size in shape)


def _shift(volume: Tensor, shift: npt.NDArray[np.int64]) -> Tensor:
    """Move (c, x, y, z) by whole voxels; zeros come in, as the padding of the preprocessing is."""
    moved = torch.roll(volume, shift.tolist(), dims=(1, 2, 3))
    for axis, step in enumerate(shift.tolist(), 1):
        size = volume.shape[axis]
        start, length = (0, step) if step >= 0 else (size + step, -step)
        moved.narrow(axis, start, length).zero_()
    return moved


def compute_pos_weight(plan: MedNeXtPlan) -> Tensor:
    """Return the weight of positive examples: the root of what would balance them, so that probabilities stay fair."""
    prevalence = plan.training_prevalence
    share = (1 - prevalence.normal) * (1 + prevalence.most_findings) / 2 / len(FINDINGS)
    shares = torch.tensor([prevalence.normal if name == "normal" else share for name in CLASSES])
    return torch.sqrt((1 - shares) / shares)
