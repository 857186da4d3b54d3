"""Slices of phantoms, made as the stage makes a patient's, with what is known of each.

Every example is a function of its seed alone, so it can be made by any process, kept on disk, and made again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from phantom.study import PhantomSettings, Study, make_study
from training import examples, phantoms
from training.diffusion.plan import FINDINGS_IN_SLICES, DiffusionPlan
from training.examples import draw_settings
from training.kept_files import keep_arrays
from training.phantoms import Prevalence, draw_findings, make_volume
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

SHOWN_PIXELS = 2
"""A slice is taught as pathological where so many pixels of a lesion lie in it: a grain of calcium is hardly larger.

What is measured asks for more (`training.diffusion.mapping.LEAST_PIXELS`).
"""


class Task(NamedTuple):
    """A seed, its findings, and whether lesions are wanted (which takes a second study).

    Each look-alike comes with the chance `distractor_share`, contrast with `contrast_share`.
    """

    seed: int
    findings: tuple[str, ...]
    is_located: bool = False
    distractor_share: float = 0.0
    contrast_share: float = 0.0

    @property
    def file_name(self) -> str:
        """What the example is kept as."""
        findings = hashlib.sha256("+".join(self.findings).encode()).hexdigest()[:8]
        shares = f"{self.distractor_share:g}-{self.contrast_share:g}"
        return f"{self.seed}-{findings}-{shares}{'-located' if self.is_located else ''}.npz"

    def draw_settings(self) -> PhantomSettings:
        """Return the grid that the seed draws, and the chances."""
        settings = draw_settings(self.seed)
        return replace(settings, distractor_share=self.distractor_share, contrast_share=self.contrast_share)


@dataclass(frozen=True)
class Example:
    """The slices of a study that hold any of the scan: `images` float16 (n, x, y), `numbers` in the prepared volume.

    `states` are 1 where a finding is seen, or without lesions in the height of one, 0 outside of all, -1 in between
    (`find_states`, `judge_states`). `healthy` like `images` is the same patient without findings, under the same noise,
    and `lesions` bool (n, x, y) are what the findings changed; both None where lesions were not wanted. `spans` bool
    (findings, n) tell which slices lie in the height of each of the `findings`.
    """

    seed: int
    images: npt.NDArray[np.float16]
    numbers: npt.NDArray[np.int64]
    states: npt.NDArray[np.int8]
    healthy: npt.NDArray[np.float16] | None
    lesions: npt.NDArray[np.bool_] | None
    findings: tuple[str, ...]
    spans: npt.NDArray[np.bool_]


def iterate_examples(tasks: Sequence[Task], plan: DiffusionPlan, folder: Path, processes: int) -> Iterator[Example]:
    """Yield the examples of the tasks in order, made ahead by other processes and kept in `folder`."""
    folder = folder / compute_recipe_digest(plan.preprocessing)
    folder.mkdir(parents=True, exist_ok=True)
    return make_ahead(partial(_fetch_example, preprocessing=plan.preprocessing, folder=folder), tasks, processes)


def make_example(task: Task, preprocessing: Preprocessing, settings: PhantomSettings | None = None) -> Example:
    """Make the study of a task, as its seed draws the scanner unless settings are given; take its slices."""
    settings = settings or task.draw_settings()
    study = make_study(task.seed, task.findings, settings)
    grid = _make_grid(study, preprocessing)
    numbers = [number for number in preprocessing.list_slices() if number in grid.scanned]
    images = _take(study, preprocessing, numbers)
    outside_mm = measure_outside(study, grid, numbers)
    states = find_states(outside_mm, grid.slice_step_mm)
    healthy, lesions = None, None
    if task.is_located:
        # The same seed without findings is the same patient under the same noise.
        twin = _take(make_study(task.seed, (), settings), preprocessing, numbers)
        healthy, lesions = twin.astype(np.float16), np.abs(images - twin) * _HU >= CHANGED_HU
        states = judge_states(states, lesions)
    return Example(
        task.seed,
        images.astype(np.float16),
        np.asarray(numbers, np.int64),
        states,
        healthy,
        lesions,
        tuple(finding.name for finding in study.findings),
        outside_mm < 0,
    )


def draw_findings_in_slices(seed: int, prevalence: Prevalence) -> tuple[str, ...]:
    """Return what a seed draws of `FINDINGS_IN_SLICES`."""
    return draw_findings(seed, prevalence, FINDINGS_IN_SLICES, _STREAM)


def measure_outside(study: Study, grid: SliceGrid, numbers: Sequence[int]) -> npt.NDArray[np.float64]:
    """Return how far each slice lies above or below the box of each finding (findings, n) in mm; negative inside."""
    heights_mm = grid.locate_centres(numbers)[:, 2]
    boxes = [(finding.centre_lps_mm[2], finding.extent_mm[2] / 2) for finding in study.findings]
    centres_mm, halves_mm = np.asarray(boxes, np.float64).reshape(-1, 2, 1).swapaxes(0, 1)
    return np.asarray(np.abs(heights_mm - centres_mm) - halves_mm)


def find_states(outside_mm: npt.NDArray[np.float64], slice_step_mm: float) -> npt.NDArray[np.int8]:
    """Return the state of each slice from the boxes of the findings."""
    nearest_mm = outside_mm.min(axis=0, initial=np.inf)
    states = np.where(nearest_mm < slice_step_mm, _BETWEEN, _HEALTHY)
    return np.where(nearest_mm < 0, _PATHOLOGICAL, states).astype(np.int8)


def judge_states(states: npt.NDArray[np.int8], lesions: npt.NDArray[np.bool_]) -> npt.NDArray[np.int8]:
    """Return the states where lesions are known: a box is higher than what a slice shows of broken ribs or calcium."""
    changed = lesions.sum(axis=(1, 2))
    unseen = np.where((states == _HEALTHY) & (changed == 0), _HEALTHY, _BETWEEN)
    return np.where(changed >= SHOWN_PIXELS, _PATHOLOGICAL, unseen).astype(np.int8)


def compute_recipe_digest(preprocessing: Preprocessing) -> str:
    """Return a short digest of everything but the task that an example depends on: the sources and the grid."""
    modules = (examples, phantoms, preprocess, slice_grid, slices)
    return digest_recipe(repr(preprocessing), __file__, *(module.__file__ for module in modules))


def _make_grid(study: Study, preprocessing: Preprocessing) -> SliceGrid:
    volume = make_volume(study)
    depth, height, width = volume.hu.shape
    return make_slice_grid(volume.geometry, (depth, height, width), preprocessing)


def _take(study: Study, preprocessing: Preprocessing, numbers: Sequence[int]) -> npt.NDArray[np.float32]:
    with torch.inference_mode():
        prepared = prepare(make_volume(study), preprocessing.volume)[0, 0]
        return take_slices(prepared, numbers, preprocessing.slice_size)[:, 0].numpy()


def _fetch_example(task: Task, preprocessing: Preprocessing, folder: Path) -> Example:
    path = folder / task.file_name
    if path.exists():
        return _read(task, path)
    example = make_example(task, preprocessing)
    lesions = np.zeros(0, bool) if example.lesions is None else example.lesions
    healthy = np.zeros(0, np.float16) if example.healthy is None else example.healthy
    keep_arrays(
        path,
        {
            "images": example.images,
            "numbers": example.numbers,
            "states": example.states,
            "healthy": healthy,
            "lesions": np.packbits(lesions),
            "findings": np.asarray(example.findings, "U32"),
            "spans": example.spans,
        },
    )
    return example


def _read(task: Task, path: Path) -> Example:
    kept = np.load(path, allow_pickle=False)
    images = kept["images"]
    healthy, lesions = None, None
    if task.is_located:
        healthy = kept["healthy"]
        lesions = np.unpackbits(kept["lesions"], count=images.size).astype(bool).reshape(images.shape)
    findings = tuple(kept["findings"].tolist())
    return Example(task.seed, images, kept["numbers"], kept["states"], healthy, lesions, findings, kept["spans"])
