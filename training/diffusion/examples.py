"""Slices of phantoms, made as the stage makes a patient's, with what is known of each.

Every example is a function of its seed alone, so it can be made by any process, kept on disk, and made again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from phantom.study import PhantomSettings, Study, make_study
from training import examples, phantoms
from training.diffusion import plan as plan_module
from training.diffusion.plan import FINDINGS_IN_SLICES, DiffusionPlan
from training.examples import draw_settings
from training.kept_files import keep_arrays
from training.phantoms import make_volume
from training.processes import make_ahead
from training.recipe import digest_recipe
from workers.ct_clip import preprocess
from workers.ct_clip.preprocess import prepare
from workers.diffusion import slice_grid, slices
from workers.diffusion.configuration import Preprocessing
from workers.diffusion.slice_grid import SliceGrid, make_slice_grid
from workers.diffusion.slices import take_slices

CHANGED_HU = 100
"""A pixel belongs to a lesion where the findings changed it by so much."""

_HU = 1000
_STREAM = 0xD1FF
_HEALTHY, _PATHOLOGICAL, _BETWEEN = 0, 1, -1


class Task(NamedTuple):
    """A seed, how its findings are drawn, and whether lesions are wanted (which takes a second study)."""

    seed: int
    normal_share: float
    most_findings: int
    is_located: bool = False


@dataclass(frozen=True)
class Example:
    """The slices of a study that hold any of the scan: `images` float16 (n, x, y), `numbers` in the prepared volume.

    `states` are 1 in the height of a finding, 0 outside of all, -1 near an end of one. `lesions` bool (n, x, y) are
    what the findings changed; None where they were not wanted.
    """

    seed: int
    images: npt.NDArray[np.float16]
    numbers: npt.NDArray[np.int64]
    states: npt.NDArray[np.int8]
    lesions: npt.NDArray[np.bool_] | None
    findings: tuple[str, ...]


def iterate_examples(tasks: Sequence[Task], plan: DiffusionPlan, folder: Path, processes: int) -> Iterator[Example]:
    """Yield the examples of the tasks in order, made ahead by other processes and kept in `folder`."""
    folder = folder / compute_recipe_digest(plan.preprocessing)
    folder.mkdir(parents=True, exist_ok=True)
    return make_ahead(partial(_fetch_example, preprocessing=plan.preprocessing, folder=folder), tasks, processes)


def make_example(task: Task, preprocessing: Preprocessing, settings: PhantomSettings | None = None) -> Example:
    """Make the study of a seed with the findings and (unless given) the grid that the seed draws; take its slices."""
    settings = settings or draw_settings(task.seed)
    study = make_study(task.seed, draw_findings(task), settings)
    grid = _make_grid(study, preprocessing)
    numbers = [number for number in preprocessing.list_slices() if number in grid.scanned]
    images = _take(study, preprocessing, numbers)
    lesions = None
    if task.is_located:
        # The same seed without findings is the same patient under the same noise.
        healthy = _take(make_study(task.seed, (), settings), preprocessing, numbers)
        lesions = np.abs(images - healthy) * _HU >= CHANGED_HU
    return Example(
        task.seed,
        images.astype(np.float16),
        np.asarray(numbers, np.int64),
        find_states(study, grid, numbers),
        lesions,
        tuple(finding.name for finding in study.findings),
    )


def draw_findings(task: Task) -> tuple[str, ...]:
    """Return none, or one to `most_findings` different findings, each as likely as the others."""
    generator = np.random.default_rng((_STREAM, task.seed))
    if generator.random() < task.normal_share:
        return ()
    count = int(generator.integers(1, task.most_findings + 1))
    chosen = generator.choice(len(FINDINGS_IN_SLICES), size=count, replace=False)
    return tuple(FINDINGS_IN_SLICES[index] for index in sorted(chosen))


def find_states(study: Study, grid: SliceGrid, numbers: Sequence[int]) -> npt.NDArray[np.int8]:
    """Return the state of each slice from the boxes of the findings."""
    heights_mm = grid.locate_centres(numbers)[:, 2]
    states = np.full(len(numbers), _HEALTHY, np.int8)
    for finding in study.findings:
        outside_mm = np.abs(heights_mm - finding.centre_lps_mm[2]) - finding.extent_mm[2] / 2
        states[(outside_mm < grid.slice_step_mm) & (states == _HEALTHY)] = _BETWEEN
        states[outside_mm < 0] = _PATHOLOGICAL
    return states


def compute_recipe_digest(preprocessing: Preprocessing) -> str:
    """Return a short digest of everything but the task that an example depends on: the sources and the grid."""
    modules = (examples, phantoms, preprocess, slice_grid, slices)
    settings = repr((preprocessing, plan_module.FINDINGS_IN_SLICES))
    return digest_recipe(settings, __file__, *(module.__file__ for module in modules))


def _make_grid(study: Study, preprocessing: Preprocessing) -> SliceGrid:
    depth, height, width = study.hu.shape
    return make_slice_grid(make_volume(study).geometry, (depth, height, width), preprocessing)


def _take(study: Study, preprocessing: Preprocessing, numbers: Sequence[int]) -> npt.NDArray[np.float32]:
    with torch.inference_mode():
        prepared = prepare(make_volume(study), preprocessing.volume)[0, 0]
        return take_slices(prepared, numbers, preprocessing.slice_size)[:, 0].numpy()


def _fetch_example(task: Task, preprocessing: Preprocessing, folder: Path) -> Example:
    name = f"{task.seed}-{task.normal_share:g}-{task.most_findings}{'-located' if task.is_located else ''}"
    path = folder / f"{name}.npz"
    if path.exists():
        return _read(task, path)
    example = make_example(task, preprocessing)
    lesions = np.zeros(0, bool) if example.lesions is None else example.lesions
    keep_arrays(
        path,
        {
            "images": example.images,
            "numbers": example.numbers,
            "states": example.states,
            "lesions": np.packbits(lesions),
            "findings": np.asarray(example.findings, "U32"),
        },
    )
    return example


def _read(task: Task, path: Path) -> Example:
    kept = np.load(path, allow_pickle=False)
    images = kept["images"]
    lesions = None
    if task.is_located:
        lesions = np.unpackbits(kept["lesions"], count=images.size).astype(bool).reshape(images.shape)
    findings = tuple(kept["findings"].tolist())
    return Example(task.seed, images, kept["numbers"], kept["states"], lesions, findings)
