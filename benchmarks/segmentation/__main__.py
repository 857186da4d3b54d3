"""Organ masks in process beside TotalSegmentator's own command line, on the same weights and studies.

    python -m benchmarks.segmentation compare [--weights seeded|demo]    three studies, both ways
    python -m benchmarks.segmentation repeat --studies 50                one after another in one process

`compare`: the command line starts a process for each study, as it is made to; ours is timed in a worker that is ready
(`warm`: volume artefact in, label map artefact out) and as a process of its own (`cold`: with all imports and weights).
Targets: no voxel differs, and at most half of the time. `repeat` prints memory and child processes as studies go by;
the target is that neither grows after the first ten studies by more than 5 %.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import nibabel
import numpy as np
import psutil
import torch

from benchmarks.segmentation.material import find_weights, make_phantom, read_studies, write_nifti
from model_weights.catalogue import ModelEntry
from workers.segmentation.grid import NetworkGrid
from workers.segmentation.package_folder import make_environment, make_package_folder
from workers.segmentation.predictor import Predictor
from workers.volume import Volume, VolumeFile, write_volume
from workers.volume.label_map import LabelMapFile, Labels, write_label_map

TIME_TARGET = 0.5
GROWTH_TARGET = 1.05
_SETTLED_AFTER = 10
_SIZES = 5
"""Different sizes of the studies that come one after another."""


@dataclass(frozen=True)
class Comparison:
    """One study both ways: seconds, voxels that differ, the lowest Dice of a label, and how many labels there are."""

    command_line_s: float
    warm_s: float
    cold_s: float
    differing: int
    lowest_dice: float
    labels: int


def main() -> int:
    """Run the mode that is asked for; return 1 when a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("mode", choices=["compare", "repeat", "once"], nargs="?", default="compare")
    parser.add_argument("--weights", choices=["seeded", "demo"], default="seeded")
    parser.add_argument("--studies", type=int, default=50, help="how many for `repeat`")
    parser.add_argument("--only", default="", help="compare only studies whose name holds this word")
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(os.cpu_count() or 1)
    if arguments.mode == "once":
        label(Predictor(find_weights(arguments.weights, arguments.folder), torch.device("cpu")), arguments.folder)
        return 0
    with TemporaryDirectory(prefix="ctclip-") as folder:
        entry = find_weights(arguments.weights, Path(folder))
        if arguments.mode == "repeat":
            return repeat(entry, arguments.studies, Path(folder))
        return compare_all(entry, arguments.weights, Path(folder), arguments.only)


def compare_all(entry: ModelEntry, weights: str, folder: Path, only: str) -> int:
    """Compare every study whose name holds `only`, print each, and judge all."""
    predictor = Predictor(entry, torch.device("cpu"))
    environment = {**os.environ, **make_environment(make_package_folder(entry, folder))}
    print(f"weights {entry.name}, {os.cpu_count()} cores")
    print(f"{'study':<14} {'command':>9} {'cold':>8} {'warm':>8}  cold/cmd  warm/cmd  differing  lowest Dice  labels")
    comparisons = []
    for name, volume in read_studies(only):
        found = _compare(predictor, volume, folder, environment, weights)
        comparisons.append(found)
        print(
            f"{name:<14} {found.command_line_s:7.2f} s {found.cold_s:6.2f} s {found.warm_s:6.2f} s"
            f"  {found.cold_s / found.command_line_s:8.2f}  {found.warm_s / found.command_line_s:8.2f}"
            f"  {found.differing:9}  {found.lowest_dice:11.4f}  {found.labels:6}",
            flush=True,
        )
    slowest = max(found.warm_s / found.command_line_s for found in comparisons)
    is_met = slowest <= TIME_TARGET and not any(found.differing for found in comparisons)
    print(f"largest ratio of time, ready worker to command line: {slowest:.2f}, target {TIME_TARGET}")
    print("all targets met" if is_met else "a target was MISSED")
    return 0 if is_met else 1


def _compare(
    predictor: Predictor, volume: Volume, folder: Path, environment: Mapping[str, str], weights: str
) -> Comparison:
    write_volume(volume, folder / "volume.b2nd")
    write_nifti(volume, folder / "ct.nii.gz")
    command = [sys.executable, "-m", "benchmarks.segmentation.command_line", "-i", str(folder / "ct.nii.gz")]
    # One process for saving instead of six: it starts none that it can do without.
    command += ["-o", str(folder / "masks.nii.gz"), "--ml", "--fast", "-d", "cpu", "-q", "-ns", "1"]
    command_line_s = _time(command, environment)
    once = [sys.executable, "-m", "benchmarks.segmentation", "once", "--weights", weights, "--folder", str(folder)]
    cold_s = _time(once, os.environ)
    started = time.perf_counter()
    label(predictor, folder)
    warm_s = time.perf_counter() - started
    ours = LabelMapFile(folder / "masks.b2nd").read()
    theirs = np.asarray(nibabel.load(folder / "masks.nii.gz").dataobj, dtype=np.uint8).transpose(2, 1, 0)  # type: ignore[attr-defined]  # nibabel
    numbers = [int(number) for number in np.union1d(ours, theirs) if number]
    lowest = min((_compute_dice(ours == number, theirs == number) for number in numbers), default=1.0)
    return Comparison(command_line_s, warm_s, cold_s, int((ours != theirs).sum()), lowest, len(numbers))


def _time(command: list[str], environment: Mapping[str, str]) -> float:
    started = time.perf_counter()
    finished = subprocess.run(command, env=dict(environment), capture_output=True, text=True, check=False)
    if finished.returncode:
        raise SystemExit(f"{' '.join(command[1:4])} failed:\n{finished.stderr}")
    return time.perf_counter() - started


def _compute_dice(one: np.ndarray, other: np.ndarray) -> float:
    return 2 * float((one & other).sum()) / float(one.sum() + other.sum())


def label(predictor: Predictor, folder: Path) -> Labels:
    """Do what the stage does between the two artefacts."""
    file = VolumeFile(folder / "volume.b2nd")
    grid = NetworkGrid(file.geometry)
    labels = grid.refine(predictor.label(grid.coarsen(file.read().hu), lambda _share: None), file.shape)
    write_label_map(folder / "masks.b2nd", labels, file.geometry)
    return labels


def cut_out(volume: Volume, margin: int) -> Volume:
    """Return the middle of a volume, smaller by a margin: no two studies in a row have one size."""
    inner = tuple(slice(size // 3 + margin, size - size // 3 - margin) for size in volume.hu.shape)
    return Volume(np.ascontiguousarray(volume.hu[inner]), volume.geometry)


def repeat(entry: ModelEntry, studies: int, folder: Path) -> int:
    """Label one study after another in this process and print memory and children."""
    predictor = Predictor(entry, torch.device("cpu"))
    phantom = make_phantom(31)
    process = psutil.Process()
    resident_mb: list[float] = []
    for number in range(1, studies + 1):
        write_volume(cut_out(phantom, number % _SIZES), folder / "volume.b2nd")
        label(predictor, folder)
        resident_mb.append(process.memory_info().rss / 1e6)
        if number == 1 or number % _SETTLED_AFTER == 0:
            children = len(process.children(recursive=True))
            print(f"study {number:3}   {resident_mb[-1]:7.1f} MB   {children} child processes", flush=True)
    # What the allocator holds after one study moves by a tenth, so the most of ten is compared with the most of ten.
    growth = max(resident_mb[-_SETTLED_AFTER:]) / max(resident_mb[:_SETTLED_AFTER])
    is_met = growth <= GROWTH_TARGET and not process.children(recursive=True)
    print(f"most memory after the last {_SETTLED_AFTER} studies over that after the first: {growth:.3f}")
    print("all targets met" if is_met else "a target was MISSED")
    return 0 if is_met else 1


if __name__ == "__main__":
    raise SystemExit(main())
