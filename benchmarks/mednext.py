"""MedNeXt at full size (320 x 320 x 224) on the CPU: the network as written beside the way that the stage runs it.

Each run is a process of its own, so that its peak memory is its own; the two ways alternate. Weights are random (the
full-size ones are not public), the input is a phantom prepared as the stage prepares a study. Targets: at most half
of the time and 0.6 of the memory, with equal answers.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import median

import torch
from torch import Tensor

from phantom.study import PhantomSettings, make_study
from workers.mednext.configuration import Architecture, Preprocessing
from workers.mednext.model import MedNeXt
from workers.mednext.preprocess import prepare
from workers.mednext.streaming import predict_logits
from workers.volume import Geometry, Volume

TIME_TARGET = 0.5
MEMORY_TARGET = 0.6
PROBABILITY_TARGET = 1e-4
CLASSES = 22


@dataclass(frozen=True)
class Run:
    """One prediction in a process of its own. `resting_mb` is the memory before it: libraries, weights and input."""

    way: str
    seconds: float
    peak_mb: float
    resting_mb: float
    probabilities: list[float]


def main() -> int:
    """Run both ways in turn and print each and the ratios; return 1 when a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=2, help="runs of each way")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--way", choices=sorted(WAYS), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.way:
        print(json.dumps(asdict(measure(arguments.way, arguments.threads))))
        return 0
    runs = [_run_apart(way, arguments.threads) for _ in range(arguments.rounds) for way in WAYS]
    return _report(runs)


def measure(way: str, threads: int) -> Run:
    """Predict once, in this process."""
    torch.set_num_threads(threads)
    model, volume = _make_model(), _make_input()
    resting_mb = _measure_peak_mb()
    started = time.perf_counter()
    logits = WAYS[way](model, volume)
    seconds = time.perf_counter() - started
    return Run(way, seconds, _measure_peak_mb(), resting_mb, model.activate(logits)[0].tolist())


@torch.inference_mode()
def _predict_as_written(model: MedNeXt, volume: Tensor) -> Tensor:
    logits: Tensor = model(volume)
    return logits


WAYS: Mapping[str, Callable[[MedNeXt, Tensor], Tensor]] = {
    "as written": _predict_as_written,
    "as the stage": predict_logits,
}


def _make_model() -> MedNeXt:
    torch.manual_seed(0)
    model = MedNeXt(Architecture(num_classes=CLASSES))
    for name, parameter in model.named_parameters():
        if ".norm." in name:
            torch.nn.init.normal_(parameter, mean=float(name.endswith("weight")), std=0.2)
    return model.eval().requires_grad_(requires_grad=False)


def _make_input() -> Tensor:
    study = make_study(0, (), PhantomSettings.coarse())
    geometry = Geometry(study.spacing_zyx_mm, study.origin_lps_mm, (1.0, 0.0, 0.0), (0.0, 1.0, 0.0))
    return prepare(Volume(study.hu, geometry), Preprocessing())


def _measure_peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


def _run_apart(way: str, threads: int) -> Run:
    command = [sys.executable, "-m", "benchmarks.mednext", "--way", way, "--threads", str(threads)]
    finished = subprocess.run(command, capture_output=True, text=True, check=True)
    run = Run(**json.loads(finished.stdout.splitlines()[-1]))
    print(
        f"{run.way:<14} {run.seconds:7.2f} s   peak {run.peak_mb:6.0f} MB (at rest {run.resting_mb:.0f} MB)", flush=True
    )
    return run


def _report(runs: Sequence[Run]) -> int:
    written, ours = ([run for run in runs if run.way == way] for way in WAYS)
    time_ratio = median(run.seconds for run in ours) / median(run.seconds for run in written)
    memory_ratio = max(run.peak_mb for run in ours) / max(run.peak_mb for run in written)
    pairs = zip(written[0].probabilities, ours[0].probabilities, strict=True)
    difference = max(abs(one - other) for one, other in pairs)
    print(f"time ratio      {time_ratio:7.3f}   target {TIME_TARGET}")
    print(f"memory ratio    {memory_ratio:7.3f}   target {MEMORY_TARGET}")
    print(f"probabilities   {difference:7.1e}   largest difference, target {PROBABILITY_TARGET}")
    is_met = time_ratio <= TIME_TARGET and memory_ratio <= MEMORY_TARGET and difference <= PROBABILITY_TARGET
    print("all targets met" if is_met else "a target was MISSED")
    return 0 if is_met else 1


if __name__ == "__main__":
    raise SystemExit(main())
