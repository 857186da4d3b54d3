"""The slice classifier at full size on the CPU, and what a reconstruction costs against its steps.

Three ways to score slices: one by one with autograd on, as the stage does, and in other batches. The reconstruction is
of a small network with random weights: the table tells how far the map moves and what it costs, not how good it is.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from model_weights.policies.reconstruction import ReconstructionOptions
from workers.diffusion.classifier import SliceClassifier
from workers.diffusion.configuration import (
    Architecture,
    ClassifierShape,
    ProcessShape,
    UNetShape,
)
from workers.diffusion.cost import SliceCost
from workers.diffusion.loading import make_classifier, make_unet
from workers.diffusion.plan import plan_steps
from workers.diffusion.predictor import CPU_BATCH
from workers.diffusion.process import Process
from workers.diffusion.reconstruction import reconstruct
from workers.diffusion.scoring import score_slices
from workers.diffusion.unet import UNet

AUTOGRAD_TARGET = 0.6
BATCH_TARGET = 1.05
BATCHES = (1, 2, 4, 8)
STEPS = (100, 50, 25, 10, 5)
SMALL = Architecture(
    UNetShape(image_size=64, model_channels=32, channel_mult=(1, 2, 2), num_res_blocks=1),
    ClassifierShape(image_size=64, channel_mult=(1, 1, 2), num_res_blocks=1, attention_resolutions=(4,)),
    ProcessShape(),
)


def main() -> int:
    """Print both tables; return 1 when a target of the classifier is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--slices", type=int, default=216)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--rounds", type=int, default=2, help="the shortest of so many runs counts")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    is_met = compare_classifier(arguments.slices, arguments.rounds)
    compare_steps()
    return 0 if is_met else 1


def compare_classifier(count: int, rounds: int) -> bool:
    """Print seconds of each way to score slices; return whether both targets are met."""
    slices = torch.rand(count, 1, 256, 256) * 2 - 1
    plain = SliceClassifier(ClassifierShape()).eval()
    ours = make_classifier(ClassifierShape(), plain.state_dict())
    autograd = _measure(lambda: [plain(each, torch.zeros(1)) for each in torch.split(slices, 1)], rounds)
    print(f"{count} slices, one by one with autograd on {autograd:8.2f} s")
    seconds = {batch: _measure(partial(_score, ours, slices, batch), rounds) for batch in BATCHES}
    for batch, each in seconds.items():
        print(f"{count} slices, batches of {batch:<3} {each:26.2f} s{'   as the stage' if batch == CPU_BATCH else ''}")
    to_autograd, to_best = seconds[CPU_BATCH] / autograd, seconds[CPU_BATCH] / min(seconds.values())
    print(f"ratio to autograd   {to_autograd:6.3f}   target {AUTOGRAD_TARGET}")
    print(f"ratio to best batch {to_best:6.3f}   target {BATCH_TARGET}")
    return to_autograd <= AUTOGRAD_TARGET and to_best <= BATCH_TARGET


def compare_steps() -> None:
    """Print cost, seconds and change of the map against the largest number of steps."""
    unet, classifier = UNet(SMALL.unet), SliceClassifier(SMALL.classifier)
    process = Process(
        make_unet(SMALL.unet, unet.state_dict()),
        make_classifier(SMALL.classifier, classifier.state_dict()),
        SMALL.process,
    )
    cost = SliceCost.count(unet, classifier)
    slices = torch.rand(2, 1, 64, 64) * 2 - 1
    reference: Tensor | None = None
    print("steps each way   TFLOP per slice   s per slice   mean change of the map, of its mean")
    for steps in STEPS:
        options = ReconstructionOptions(steps=steps)
        plan = plan_steps(options, process.schedule, process.noise_level, steps=steps, slices=len(slices))
        started = time.perf_counter()
        maps = reconstruct(process, slices, plan, seed=0, batch=1)
        seconds = (time.perf_counter() - started) / len(slices)
        reference = maps if reference is None else reference
        change = float((maps - reference).abs().mean() / reference.mean())
        tflop = replace(plan, slices=1).count_tflop(cost)
        print(f"{steps:>14} {tflop:17.3f} {seconds:13.2f} {change:12.4f}")


def _score(classifier: SliceClassifier, slices: Tensor, batch: int) -> Tensor:
    return score_slices(classifier, torch.split(slices, batch), pathological_class=1)


def _measure(run: Callable[[], object], rounds: int) -> float:
    shortest = float("inf")
    for _ in range(rounds):
        started = time.perf_counter()
        run()
        shortest = min(shortest, time.perf_counter() - started)
    return shortest


if __name__ == "__main__":
    raise SystemExit(main())
