"""Training examples from phantoms: a study by its seed, prepared exactly as the stage prepares a patient's.

Every example is a function of its seed alone, so it can be made by any process, kept on disk, and made again.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing import get_context, parent_process
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

import phantom
from phantom.study import FINDINGS, PhantomSettings, PlacedFinding, make_study
from training import phantoms
from training.phantoms import Prevalence, draw_findings, make_volume
from workers.mednext import body_box, configuration, preprocess
from workers.mednext.configuration import Preprocessing
from workers.mednext.preprocess import compute_input_corner, prepare

FINE_SHARE = 0.15
"""Share of studies on a finer grid: resampling leaves more noise in them, as in a clinical thin-slice series."""

Task = tuple[int, Prevalence]
"""A seed and how its findings are drawn."""

_TASKS_AT_ONCE = 4
_STREAM = 0x6A1D
"""Keeps the draw of the grid apart from the draws that the phantom makes of the same seed."""


@dataclass(frozen=True)
class Example:
    """`voxels` float16 (x, y, z); `boxes` float32 (findings, 2, 3): corners in voxels of the input, NaN when absent."""

    seed: int
    voxels: npt.NDArray[np.float16]
    boxes: npt.NDArray[np.float32]

    @property
    def has_finding(self) -> npt.NDArray[np.bool_]:
        """Whether each of `FINDINGS` is present."""
        present: npt.NDArray[np.bool_] = ~np.isnan(self.boxes[:, 0, 0])
        return present


def make_example(
    seed: int, prevalence: Prevalence, preprocessing: Preprocessing, settings: PhantomSettings | None = None
) -> Example:
    """Make the study of a seed, with the findings (and, unless given, the grid) that the seed draws; prepare it."""
    study = make_study(seed, draw_findings(seed, prevalence), settings or draw_settings(seed))
    volume = make_volume(study)
    voxels = prepare(volume, preprocessing)[0, 0].numpy().astype(np.float16)
    corner_mm = np.asarray(study.origin_lps_mm) + compute_input_corner(volume, preprocessing)
    boxes = np.full((len(FINDINGS), 2, 3), np.nan, np.float32)
    for finding in study.findings:
        boxes[FINDINGS.index(finding.name)] = _place_box(finding, corner_mm, preprocessing)
    return Example(seed, voxels, boxes)


def draw_settings(seed: int) -> PhantomSettings:
    """Draw the grid of the scanner: mostly coarse, which is fast, sometimes finer."""
    coarse = PhantomSettings.coarse()
    if np.random.default_rng((_STREAM, seed)).random() < FINE_SHARE:
        return replace(coarse, matrix=144, slice_spacing_mm=(2.4, 3.2), thickness_per_spacing=(1.0, 1.4))
    return coarse


def iterate_examples(
    tasks: Sequence[Task], preprocessing: Preprocessing, folder: Path, processes: int
) -> Iterator[Example]:
    """Yield the examples of the tasks in order, made ahead by other processes and kept in `folder`."""
    folder = folder / compute_recipe_digest(preprocessing)
    folder.mkdir(parents=True, exist_ok=True)
    make = partial(_fetch_example, preprocessing=preprocessing, folder=folder)
    pool = ProcessPoolExecutor(processes, get_context("spawn"), _start_process)
    try:
        yield from pool.map(make, tasks, chunksize=_TASKS_AT_ONCE)
    finally:
        pool.shutdown(cancel_futures=True)


def compute_recipe_digest(preprocessing: Preprocessing) -> str:
    """Return a short digest of everything but the seed that an example depends on: the sources and the grid."""
    modules = (body_box, configuration, phantoms, preprocess)
    files = [__file__, *(str(module.__file__) for module in modules)]
    sources = [*sorted(Path(phantom.__path__[0]).rglob("*.py")), *(Path(file) for file in files)]
    digest = hashlib.sha256(repr(preprocessing).encode())
    for path in sources:
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def _start_process() -> None:
    torch.set_num_threads(1)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """End this process when its parent is gone, however it went; the pool would keep it for ever."""
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(0)


def _fetch_example(task: Task, preprocessing: Preprocessing, folder: Path) -> Example:
    seed, prevalence = task
    path = folder / f"{seed}.npz"
    if path.exists():
        kept = np.load(path, allow_pickle=False)
        return Example(seed, kept["voxels"], kept["boxes"])
    example = make_example(seed, prevalence, preprocessing)
    draft = path.with_suffix(f".{os.getpid()}.npz")
    np.savez(draft, voxels=example.voxels, boxes=example.boxes)
    draft.replace(path)
    return example


def _place_box(
    finding: PlacedFinding, corner_mm: npt.NDArray[np.float64], preprocessing: Preprocessing
) -> npt.NDArray[np.float64]:
    """Return the first and last corner of a finding in voxels of the input; x and y ascend with the volume's."""
    centre = (np.asarray(finding.centre_lps_mm) - corner_mm) / np.asarray(preprocessing.spacing_xyz_mm)
    half = np.asarray(finding.extent_mm) / 2 / np.asarray(preprocessing.spacing_xyz_mm)
    return np.stack([centre - half, centre + half])
