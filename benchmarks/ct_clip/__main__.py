"""CT-CLIP's image side at its published size on the CPU: a straightforward network beside the one that the stage runs.

Weights and volume come from a recipe, since the published ones cannot be had here. Each run is a process of its own;
the sides alternate. Targets: 0.65 of the time and 0.6 of the peak memory at equal codes (at least 99.9 %), all labels
at most 1 % more than one, and weights mapped in 0.2 of the time of `torch.load`.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

import torch

from benchmarks.ct_clip.material import Material, write_material
from benchmarks.ct_clip.sides import SIDES, Run

TIME_TARGET = 0.65
MEMORY_TARGET = 0.6
CODE_TARGET = 1e-3
LATENT_TARGET = 1e-5
LABELS_TARGET = 1.01
LOADING_TARGET = 0.2

_MODULE = (sys.executable, "-m", "benchmarks.ct_clip")
_WRITE = "write"


@dataclass(frozen=True)
class Ratio:
    """One figure beside its target; None where there is none."""

    name: str
    value: float
    target: float | None

    @property
    def is_met(self) -> bool:
        """Whether the figure is at or under its target."""
        return self.target is None or self.value <= self.target

    def describe(self) -> str:
        """Return one line."""
        aim = "" if self.target is None else f"   target {self.target:g}{'' if self.is_met else '   MISSED'}"
        return f"{self.name:<44} {self.value:9.3g}{aim}"


def main() -> int:
    """Run every side in turn and print each and the ratios; return 1 when a target is missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ct_clip", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="runs of each side")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--folder", type=Path, help="keep weights and volume here, and take them from here again")
    parser.add_argument("--side", choices=[*SIDES, _WRITE], help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.side == _WRITE:
        write_material(arguments.folder)
        return 0
    if arguments.side:
        torch.set_num_threads(arguments.threads)
        print(json.dumps(asdict(SIDES[arguments.side](Material(arguments.folder)))))
        return 0
    with tempfile.TemporaryDirectory(prefix="ctclip-benchmark-") as scratch:
        material = _prepare(arguments.folder or Path(scratch))
        runs = [_run_apart(side, material, arguments.threads) for _ in range(arguments.rounds) for side in SIDES]
    return _report(runs)


def _prepare(folder: Path) -> Material:
    folder.mkdir(parents=True, exist_ok=True)
    material = Material(folder)
    if material.checkpoint.exists():
        return material
    print("writing weights and a volume of the published size (3 GB)", flush=True)
    # Apart, because a process begins with the peak memory of the one that started it.
    subprocess.run([*_MODULE, "--side", _WRITE, "--folder", str(folder)], check=True)
    return material


def _run_apart(side: str, material: Material, threads: int) -> Run:
    command = [*_MODULE, "--side", side, "--threads", str(threads), "--folder", str(material.folder)]
    finished = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    run = Run(**json.loads(finished.stdout.splitlines()[-1]))
    told = ", ".join(f"{name} {seconds:.3g} s" for name, seconds in run.seconds.items())
    print(f"{run.side:<16} {told}; peak {run.peak_mb:.0f} MB", flush=True)
    return run


def _report(runs: Sequence[Run]) -> int:
    ratios = [*_compare_encoding(runs), *_compare_loading(runs)]
    print(*(ratio.describe() for ratio in ratios), sep="\n")
    is_met = all(ratio.is_met for ratio in ratios)
    print("all targets met" if is_met else "a target was MISSED")
    return 0 if is_met else 1


def _compare_encoding(runs: Sequence[Run]) -> Iterator[Ratio]:
    plain, ours = (_select(runs, side) for side in ("straightforward", "as the stage"))
    pairs = [one.seconds["encode"] / other.seconds["encode"] for one, other in zip(ours, plain, strict=True)]
    yield Ratio("time of encoding, median of pairs", median(pairs), TIME_TARGET)
    memory = max(run.peak_mb for run in ours) / min(run.peak_mb for run in plain)
    yield Ratio("peak memory, ours at most / theirs at least", memory, MEMORY_TARGET)
    codes = list(zip(ours[0].codes, plain[0].codes, strict=True))
    yield Ratio("share of other codes", sum(a != b for a, b in codes) / len(codes), CODE_TARGET)
    yield Ratio("largest difference of the latents", _find_largest_difference(ours[0], plain[0]), LATENT_TARGET)
    seconds = {name: median(run.seconds[name] for run in ours) for name in ours[0].seconds}
    all_labels, one_label = (seconds["encode"] + seconds[f"score_{count}"] for count in (55, 1))
    yield Ratio("55 labels beside one label", all_labels / one_label, LABELS_TARGET)


def _compare_loading(runs: Sequence[Run]) -> Iterator[Ratio]:
    whole, mapped, verified = (_select(runs, side) for side in ("torch.load", "mapped", "verified"))
    base = median(run.seconds["load"] for run in whole)
    built = median(run.seconds["load"] for run in mapped)
    yield Ratio("mapped and built, beside torch.load", built / base, LOADING_TARGET)
    ready, warm = (median(run.seconds[name] for run in verified) for name in ("ready", "warm"))
    yield Ratio("verified beside the warm-up, beside warm-up alone", ready / warm, None)
    yield Ratio("built, verified and warm, beside torch.load", ready / base, None)


def _select(runs: Sequence[Run], side: str) -> list[Run]:
    return [run for run in runs if run.side == side]


def _find_largest_difference(one: Run, other: Run) -> float:
    return max(abs(a - b) for a, b in zip(one.latents, other.latents, strict=True))


if __name__ == "__main__":
    raise SystemExit(main())
