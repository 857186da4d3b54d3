"""Fitting a network with checkpoints: the same plan gives the same weights, however often the run was cut off.

A checkpoint of another recipe, or that began from other weights, is not gone on from.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from training.diffusion.batches import Slices
from training.diffusion.examples import compute_recipe_digest
from training.diffusion.locating import LocatingClassifier, compute_located_loss
from training.diffusion.pairs import FindingPairs, LocatedBatch
from training.diffusion.plan import DiffusionPlan, FittingPlan
from training.kept_files import keep_checkpoint, read_checkpoint
from workers.diffusion.blocks import ResidualBlock, SelfAttention
from workers.diffusion.classifier import SliceClassifier
from workers.diffusion.unet import UNet

Report = Callable[[str], None]
Draw = Callable[[np.random.Generator], LocatedBatch]
_Network = TypeVar("_Network", bound=nn.Module)

_REPORT_STEPS = 25
_WARM_SHARE = 0.1
_WEIGHTS = (0.1, 10.0)


@dataclass(frozen=True)
class FittingTask:
    """What is fitted, and how. `recipe` is all that decides the weights beside the plan, the seed and the beginning."""

    name: str
    plan: FittingPlan
    seed: int
    recipe: str = ""


@dataclass(frozen=True)
class Fitted(Generic[_Network]):
    """A network that was fitted, and the CPU time of that."""

    network: _Network
    seconds: float


class Fitting(Generic[_Network]):
    """One network, its optimiser and schedule. `compute_loss` is given random numbers and the step.

    `seconds` is the CPU time of all runs so far.
    """

    def __init__(
        self,
        task: FittingTask,
        network: _Network,
        compute_loss: Callable[[_Network, np.random.Generator, int], Tensor],
    ) -> None:
        plan = task.plan
        self._name, self._network, self._plan, self._seed = task.name, network, plan, task.seed
        self._compute_loss = compute_loss
        self._optimiser = torch.optim.AdamW(network.parameters(), lr=plan.peak_rate, weight_decay=plan.weight_decay)
        self._schedule = torch.optim.lr_scheduler.OneCycleLR(
            self._optimiser, plan.peak_rate, total_steps=plan.steps, pct_start=_WARM_SHARE
        )
        self._step = 0
        self._beginning = _compute_digest(network, f"{plan} {task.seed} {task.recipe}")
        self.seconds = 0.0

    def run(self, state: Path, report: Report) -> _Network:
        """Fit, going on from the last checkpoint in `state`, and return the network in inference mode."""
        checkpoint = state / f"{self._name}.pt"
        self._restore(checkpoint, report)
        losses: list[float] = []
        while self._step < self._plan.steps:
            started = time.process_time()
            losses.append(self._learn())
            self._step += 1
            self.seconds += time.process_time() - started
            if self._step % _REPORT_STEPS == 0:
                recent, place = np.mean(losses[-_REPORT_STEPS:]), f"step {self._step} of {self._plan.steps}"
                report(f"{self._name}: {place}, loss {recent:.4f}, {self.seconds:.0f} s CPU")
            if self._step % self._plan.checkpoint_steps == 0 or self._step == self._plan.steps:
                self._save(checkpoint)
        return self._network.eval().requires_grad_(requires_grad=False)

    def _learn(self) -> float:
        rng = np.random.default_rng((self._seed, self._step))
        loss = self._compute_loss(self._network, rng, self._step)
        loss.backward()  # type: ignore[no-untyped-call]  # of torch
        torch.nn.utils.clip_grad_norm_(self._network.parameters(), 1.0)
        self._optimiser.step()
        self._optimiser.zero_grad()
        self._schedule.step()
        return loss.item()

    def _save(self, checkpoint: Path) -> None:
        kept = {
            "network": self._network.state_dict(),
            "optimiser": self._optimiser.state_dict(),
            "schedule": self._schedule.state_dict(),
            "step": self._step,
            "beginning": self._beginning,
            "seconds": self.seconds,
        }
        keep_checkpoint(checkpoint, kept)

    def _restore(self, checkpoint: Path, report: Report) -> None:
        kept = read_checkpoint(checkpoint)
        if kept is None:
            return
        if kept.get("beginning") != self._beginning:
            report(f"{self._name}: the checkpoint is of another recipe or began from other weights: beginning anew")
            return
        self._network.load_state_dict(kept["network"])
        self._schedule.load_state_dict(kept["schedule"])
        self._optimiser.load_state_dict(kept["optimiser"])
        self._step, self.seconds = int(kept["step"]), float(kept["seconds"])
        report(f"{self._name}: going on from step {self._step}")


def _compute_digest(network: nn.Module, recipe: str) -> str:
    digest = hashlib.sha256(recipe.encode())
    for tensor in network.state_dict().values():
        digest.update(tensor.numpy().tobytes())
    return digest.hexdigest()


def fit_classifier(pairs: FindingPairs, plan: DiffusionPlan, state: Path, report: Report) -> Fitted[SliceClassifier]:
    """Return the slice classifier, fitted on clean slices with small findings, then on all, some of them noisy."""
    torch.manual_seed(plan.seed)
    network = LocatingClassifier(quieten(SliceClassifier(plan.architecture.classifier))).train()

    def compute_loss(draw: Draw, classifier: LocatingClassifier, rng: np.random.Generator, _step: int) -> Tensor:
        batch = draw(rng)
        logits, maps = classifier(batch.noisy, batch.times)
        return compute_located_loss(logits, maps, batch, plan.place_weight)

    recipe = f"{plan.classifier_recipe} {compute_recipe_digest(plan.preprocessing)}"
    first = FittingTask("classifier_small", plan.small_fitting, plan.seed + 3, recipe)
    small = Fitting(first, network, partial(compute_loss, pairs.draw_first))
    network = small.run(state, report).requires_grad_().train()
    task = FittingTask("classifier", plan.classifier_fitting, plan.seed, recipe)
    whole = Fitting(task, network, partial(compute_loss, pairs.draw))
    return Fitted(whole.run(state, report).classifier, small.seconds + whole.seconds)


def fit_unet(slices: Slices, plan: DiffusionPlan, state: Path, report: Report) -> Fitted[UNet]:
    """Return the noise predictor. What it says of the variance is not fitted: steps without noise do not ask for it."""
    torch.manual_seed(plan.seed)
    network = quieten(UNet(plan.architecture.unet)).train()
    first_whole = plan.unet_fitting.steps - plan.whole_steps

    def compute_loss(unet: UNet, rng: np.random.Generator, step: int) -> Tensor:
        batch = slices.draw_for_unet(rng, is_whole=step >= first_whole)
        noise, _ = unet(batch.noisy, batch.times, batch.labels)
        return functional.mse_loss(noise, batch.noise)

    def compute_late_loss(unet: UNet, rng: np.random.Generator, _step: int) -> Tensor:
        batch = slices.draw_late(rng)
        noise, _ = unet(batch.noisy, batch.times, batch.labels)
        # What counts is the slice without noise, not the noise.
        weights = slices.measure_amplification(batch.times).clamp(*_WEIGHTS)
        loss: Tensor = (weights * (noise - batch.noise).square()).mean()
        return loss

    recipe = f"{plan.unet_recipe} {compute_recipe_digest(plan.preprocessing)}"
    early = Fitting(FittingTask("unet", plan.unet_fitting, plan.seed + 1, recipe), network, compute_loss)
    network = early.run(state, report).requires_grad_().train()
    late = Fitting(FittingTask("unet_late", plan.late_fitting, plan.seed + 2, recipe), network, compute_late_loss)
    return Fitted(late.run(state, report), early.seconds + late.seconds)


def quieten(network: _Network) -> _Network:
    """Let every residual branch, and the noise, begin as nothing: fitting is steadier from there."""
    for module in network.modules():
        if isinstance(module, ResidualBlock):
            _zero(module.second_convolution)
        elif isinstance(module, SelfAttention):
            _zero(module.output)
        elif isinstance(module, UNet):
            _zero(module.head_convolution)
    return network


def _zero(layer: nn.Conv1d | nn.Conv2d) -> None:
    nn.init.zeros_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
