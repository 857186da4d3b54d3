"""Fitting a network with checkpoints: the same plan gives the same weights, however often the run was cut off."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from training.diffusion.batches import Slices
from training.diffusion.plan import DiffusionPlan, FittingPlan
from training.kept_files import keep_checkpoint, read_checkpoint
from workers.diffusion.blocks import ResidualBlock, SelfAttention
from workers.diffusion.classifier import SliceClassifier
from workers.diffusion.unet import UNet

Report = Callable[[str], None]
_Network = TypeVar("_Network", bound=nn.Module)

_REPORT_STEPS = 25
_WARM_SHARE = 0.1
_WEIGHTS = (0.1, 10.0)


class Fitting(Generic[_Network]):
    """One network, its optimiser and schedule. `compute_loss` is given random numbers and the step."""

    def __init__(
        self,
        name: str,
        network: _Network,
        plan: FittingPlan,
        seed: int,
        compute_loss: Callable[[_Network, np.random.Generator, int], Tensor],
    ) -> None:
        self._name, self._network, self._plan, self._seed = name, network, plan, seed
        self._compute_loss = compute_loss
        self._optimiser = torch.optim.AdamW(network.parameters(), lr=plan.peak_rate, weight_decay=plan.weight_decay)
        self._schedule = torch.optim.lr_scheduler.OneCycleLR(
            self._optimiser, plan.peak_rate, total_steps=plan.steps, pct_start=_WARM_SHARE
        )
        self._step = 0

    def run(self, state: Path, report: Report) -> _Network:
        """Fit, going on from the last checkpoint in `state`, and return the network in inference mode."""
        checkpoint = state / f"{self._name}.pt"
        self._restore(checkpoint, report)
        started, losses = time.process_time(), []
        while self._step < self._plan.steps:
            losses.append(self._learn())
            self._step += 1
            if self._step % _REPORT_STEPS == 0:
                seconds = time.process_time() - started
                recent = np.mean(losses[-_REPORT_STEPS:])
                report(f"{self._name}: step {self._step} of {self._plan.steps}, loss {recent:.4f}, {seconds:.0f} s CPU")
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
        }
        keep_checkpoint(checkpoint, kept)

    def _restore(self, checkpoint: Path, report: Report) -> None:
        kept = read_checkpoint(checkpoint)
        if kept is None:
            return
        self._network.load_state_dict(kept["network"])
        self._schedule.load_state_dict(kept["schedule"])
        self._optimiser.load_state_dict(kept["optimiser"])
        self._step = int(kept["step"])
        report(f"{self._name}: going on from step {self._step}")


def fit_classifier(slices: Slices, plan: DiffusionPlan, state: Path, report: Report) -> SliceClassifier:
    """Return the slice classifier, fitted on clean and on noisy slices."""
    torch.manual_seed(plan.seed)
    network = quieten(SliceClassifier(plan.architecture.classifier)).train()

    def compute_loss(classifier: SliceClassifier, rng: np.random.Generator, _step: int) -> Tensor:
        batch = slices.draw_for_classifier(rng)
        return functional.cross_entropy(classifier(batch.noisy, batch.times), batch.labels)

    return Fitting("classifier", network, plan.classifier_fitting, plan.seed, compute_loss).run(state, report)


def fit_unet(slices: Slices, plan: DiffusionPlan, state: Path, report: Report) -> UNet:
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

    fitted = Fitting("unet", network, plan.unet_fitting, plan.seed + 1, compute_loss).run(state, report)
    network = fitted.requires_grad_().train()
    return Fitting("unet_late", network, plan.late_fitting, plan.seed + 2, compute_late_loss).run(state, report)


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
