"""The slice classifier at full size on the CPU, its memory, and what a reconstruction costs against its steps.

    python -m benchmarks.diffusion                     all three
    python -m benchmarks.diffusion classifier          one of them: classifier, memory or steps

`classifier` scores slices one by one with autograd on, as the stage does, and in other batches, on random weights; all
but the first in float32 and, where the processor has the instructions, in bfloat16. The targets are asked of what
`CTCLIP_PRECISION=auto` takes by what is measured here.
`memory` is the peak of scoring some slices and four times as many. `steps` takes the demo weights and slices of
phantoms with a mass, which no training saw, and tells how far the map is from that of the most steps.
"""

from __future__ import annotations

import argparse
import os
import resource
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from multiprocessing import get_context
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from model_weights.catalogue import CATALOGUE_FILE, ModelEntry, load_catalogue
from model_weights.loading import load_tensors
from model_weights.policies.reconstruction import ReconstructionOptions
from phantom.study import make_study
from shared.byte_units import MIB
from shared.precision import Precision
from shared.settings import WeightsProfile
from shared.stages import StageName
from training.examples import draw_settings
from training.phantoms import make_volume
from workers.ct_clip.preprocess import prepare
from workers.device import ComputeMode, list_bfloat16_instructions
from workers.diffusion.classifier import SliceClassifier
from workers.diffusion.configuration import Architecture, ClassifierShape, Preprocessing
from workers.diffusion.cost import SliceCost
from workers.diffusion.loading import make_classifier, make_unet
from workers.diffusion.map_refining import measure_pixel, refine
from workers.diffusion.plan import plan_steps
from workers.diffusion.predictor import CPU_BATCHES
from workers.diffusion.process import Process
from workers.diffusion.reconstruction import reconstruct
from workers.diffusion.scoring import score_slices
from workers.diffusion.slice_grid import make_slice_grid
from workers.diffusion.slices import take_slices
from workers.model_host.allocation import keep_freed_memory
from workers.model_host.precision import LARGEST_ERROR, is_worth

AUTOGRAD_TARGET = 0.6
BATCH_TARGET = 1.05
MEMORY_TARGET = 1.05
BATCHES = (1, 2, 4, 8)
STEPS = (64, 32, 16, 8, 4, 2, 1)
_FIRST_SEED = 2_400_000
"""Seeds of no training."""

_STUDIES = 4
_COMPARED_SLICES = 16
_HU = 1000.0
_EXACT_BATCH = CPU_BATCHES[Precision.FP32]


class Way(NamedTuple):
    """How slices are scored: in batches, or without one as the predecessor does: one by one, with autograd on."""

    batch: int | None
    precision: Precision = Precision.FP32


ONE_BY_ONE = Way(batch=None)


def main() -> int:
    """Print the tables; return 1 when a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="?", choices=["all", "classifier", "memory", "steps"], default="all")
    parser.add_argument("--slices", type=int, default=216)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--rounds", type=int, default=2, help="the shortest of so many runs counts")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    parts: dict[str, Callable[[], bool]] = {
        "classifier": lambda: compare_classifier(arguments.slices, arguments.rounds),
        "memory": lambda: compare_memory(arguments.slices),
        "steps": compare_steps,
    }
    met = [part() for name, part in parts.items() if arguments.what in ("all", name)]
    return 0 if all(met) else 1


def compare_classifier(count: int, rounds: int) -> bool:
    """Print seconds of each way to score slices, taken in turns.

    Return whether both targets are met in the precision that a worker would take once this was measured.
    """
    precisions = list(_iterate_precisions())
    ways = [Way(batch, precision) for precision in precisions for batch in BATCHES]
    seconds = _measure_in_turns([ONE_BY_ONE, *ways], count, rounds)
    print(f"{count} slices, one by one with autograd on      {seconds[ONE_BY_ONE]:8.2f} s")
    for way in ways:
        note = "   as the stage" if way.batch == CPU_BATCHES[way.precision] else ""
        print(f"{count} slices, batches of {way.batch:<3} in {way.precision} {seconds[way]:19.2f} s{note}")
    met = {precision: _tell_ratios(precision, seconds) for precision in precisions}
    taken = Precision.BF16 if Precision.BF16 in met and _is_taken(seconds) else Precision.FP32
    print(f"{taken} is what a worker would take by itself once `ctclip models precision diffusion` measured the same")
    return met[taken]


def _iterate_precisions() -> Iterator[Precision]:
    yield Precision.FP32
    if list_bfloat16_instructions():
        yield Precision.BF16


def _is_taken(seconds: dict[Way, float]) -> bool:
    """Print how far bfloat16 is from float32, and return whether it is near enough and faster."""
    exact, rounded = (Way(CPU_BATCHES[precision], precision) for precision in (Precision.FP32, Precision.BF16))
    error = _run_apart(_find_largest_error, exact, rounded)
    print(f"largest difference of a probability in bf16 {error:.2g}, allowed {LARGEST_ERROR}")
    return is_worth(error, seconds[rounded] / seconds[exact])


def _find_largest_error(exact: Way, rounded: Way) -> float:
    plain, slices = _make_task(_COMPARED_SLICES)
    classifier = make_classifier(ClassifierShape(), plain.state_dict())
    return float((_score(classifier, slices, exact) - _score(classifier, slices, rounded)).abs().max())


def _tell_ratios(precision: Precision, seconds: dict[Way, float]) -> bool:
    stage = seconds[Way(CPU_BATCHES[precision], precision)]
    best = min(taken for way, taken in seconds.items() if way.batch and way.precision is precision)
    to_autograd, to_best = stage / seconds[ONE_BY_ONE], stage / best
    print(f"{precision}: ratio to autograd   {to_autograd:6.3f}   target {AUTOGRAD_TARGET}")
    print(f"{precision}: ratio to best batch {to_best:6.3f}   target {BATCH_TARGET}")
    return to_autograd <= AUTOGRAD_TARGET and to_best <= BATCH_TARGET


def compare_memory(count: int) -> bool:
    """Print the peak of scoring a quarter of the slices and all of them, each in a process of its own."""
    few, many = (_run_apart(_score_some, number) for number in (count // 4, count))
    print(f"peak memory of {count // 4} slices {few:7.0f} MiB, of {count} {many:7.0f} MiB: ratio {many / few:.3f}")
    return many / few <= MEMORY_TARGET


def compare_steps() -> bool:
    """Print cost, seconds and change of the map against the largest number of steps."""
    entry = _find_demo()
    shapes, slicing = Architecture.from_table(entry.architecture), Preprocessing.from_table(entry.preprocessing)
    unet = make_unet(shapes.unet, load_tensors(entry.get_file("unet_weights")))
    classifier = make_classifier(shapes.classifier, load_tensors(entry.get_file("weights")))
    process, cost = Process(unet, classifier, shapes.process), SliceCost.count(unet, classifier)
    slices, pixel_mm = _take_masses(slicing)
    shown = partial(refine, slices=slices[:, 0].numpy(), shape=shapes.map, pixel_mm=pixel_mm)
    reference: np.ndarray | None = None
    print("steps each way   GFLOP per slice   s per slice   mean change of the map, of its mean   peak elsewhere")
    for steps in STEPS:
        options = ReconstructionOptions(steps=steps)
        plan = plan_steps(options, process.schedule, shapes.process, steps=steps, slices=len(slices))
        started = time.perf_counter()
        maps = shown(reconstruct(process, slices, plan, seed=0, batch=_EXACT_BATCH)[:, 0].numpy() * np.float32(_HU))
        seconds = (time.perf_counter() - started) / len(slices)
        reference = maps if reference is None else reference
        change = float(np.abs(maps - reference).mean() / reference.mean())
        gflop = replace(plan, slices=1).count_tflop(cost) * 1000
        print(f"{steps:>14} {gflop:17.1f} {seconds:13.2f} {change:37.3f} {_count_moved(maps, reference):13.2f}")
    return True


def _take_masses(slicing: Preprocessing) -> tuple[Tensor, tuple[float, float]]:
    """Return the slice through the middle of the mass of some phantoms, and the sides of a pixel."""
    taken, pixel_mm = [], (1.0, 1.0)
    for seed in range(_FIRST_SEED, _FIRST_SEED + _STUDIES):
        study = make_study(seed, ("mass",), draw_settings(seed))
        volume = make_volume(study)
        depth, height, width = volume.hu.shape
        grid = make_slice_grid(volume.geometry, (depth, height, width), slicing)
        numbers = [number for number in slicing.list_slices() if number in grid.scanned]
        away_mm = np.abs(grid.locate_centres(numbers)[:, 2] - study.findings[0].centre_lps_mm[2])
        nearest = numbers[int(away_mm.argmin())]
        taken.append(take_slices(prepare(volume, slicing.volume)[0, 0], [nearest], slicing.slice_size))
        pixel_mm = measure_pixel(grid)
    return torch.cat(taken), pixel_mm


def _count_moved(maps: np.ndarray, reference: np.ndarray) -> float:
    """Return the share of maps whose peak is more than two pixels from the reference's."""
    places = [
        np.stack(np.unravel_index(each.reshape(len(each), -1).argmax(1), each.shape[1:])) for each in (maps, reference)
    ]
    return float((np.abs(places[0] - places[1]).max(axis=0) > 2).mean())


def _find_demo() -> ModelEntry:
    wanted = (WeightsProfile.DEMO, StageName.DIFFUSION)
    return next(each for each in load_catalogue(CATALOGUE_FILE) if (each.weights_profile, each.stage) == wanted)


def _measure_in_turns(ways: Sequence[Way], count: int, rounds: int) -> dict[Way, float]:
    """Return the shortest seconds of each way; every round runs all of them, so that a busy machine is busy for all.

    Each in a process of its own: how a process keeps freed memory cannot be taken back.
    """
    seconds = dict.fromkeys(ways, float("inf"))
    for _ in range(rounds):
        for way in ways:
            taken = _run_apart(_time_scoring, way, count, torch.get_num_threads())
            seconds[way] = min(seconds[way], taken)
    return seconds


def _run_apart(measure: Callable[..., float], *arguments: int | Way) -> float:
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        return pool.submit(measure, *arguments).result()


def _time_scoring(way: Way, count: int, threads: int) -> float:
    """Return the seconds of scoring slices as the predecessor, one by one with autograd on, or in batches as here."""
    torch.set_num_threads(threads)
    plain, slices = _make_task(count)
    ours = make_classifier(ClassifierShape(), plain.state_dict())
    if way.batch:
        keep_freed_memory()  # as a worker's models have it
    started = time.perf_counter()
    if way.batch:
        _score(ours, slices, way)
    else:
        for each in torch.split(slices, 1):
            plain(each, torch.zeros(1)).tolist()  # taken out, or the graphs of all slices would fill the memory
    return time.perf_counter() - started


def _make_task(count: int) -> tuple[SliceClassifier, Tensor]:
    torch.manual_seed(0)
    slices = torch.rand(count, 1, 256, 256) * 2 - 1
    return SliceClassifier(ClassifierShape()).eval(), slices


def _score(classifier: SliceClassifier, slices: Tensor, way: Way) -> Tensor:
    assert way.batch
    with ComputeMode(way.precision).autocast(torch.device("cpu")):
        return score_slices(classifier, torch.split(slices, way.batch), pathological_class=1)


def _score_some(count: int) -> float:
    """Score slices of a full-size volume as the stage takes them; return the peak of this process in MiB."""
    torch.set_num_threads(1)
    slicing = Preprocessing()
    prepared = torch.zeros(slicing.volume.shape)
    numbers = slicing.list_slices()[:count]
    classifier = make_classifier(ClassifierShape(), SliceClassifier(ClassifierShape()).state_dict())
    batches = (
        take_slices(prepared, numbers[start : start + _EXACT_BATCH], slicing.slice_size)
        for start in range(0, len(numbers), _EXACT_BATCH)
    )
    score_slices(classifier, batches, pathological_class=1)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / MIB


if __name__ == "__main__":
    raise SystemExit(main())
