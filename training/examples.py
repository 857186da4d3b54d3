"""Training examples from phantoms: a study by its seed, prepared exactly as the stage prepares a patient's.

Every example is a function of its seed alone, so it can be made by any process, kept on disk, and made again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from phantom.study import FINDINGS, PhantomSettings, PlacedFinding, Study, make_study
from training import phantoms
from training.kept_files import keep_arrays
from training.phantoms import Prevalence, draw_findings, make_volume
from training.processes import make_ahead
from training.recipe import digest_recipe
from workers.mednext import body_box, configuration, preprocess
from workers.mednext.configuration import Preprocessing
from workers.mednext.preprocess import compute_input_corner, prepare, resample_region

FINE_SHARE = 0.15
"""Share of studies on a finer grid: resampling leaves more noise in them, as in a clinical thin-slice series."""

Mask = npt.NDArray[np.bool_]

_PLACE_SHARE = 0.25
"""A voxel belongs to a finding when it changed by this share of what changed most."""

_STREAM = 0x6A1D
"""Keeps the draw of the grid apart from the draws that the phantom makes of the same seed."""


class Task(NamedTuple):
    """A seed, how findings and look-alikes are drawn, and whether places are wanted (which takes a second study)."""

    seed: int
    prevalence: Prevalence
    is_located: bool = False
    distractor_share: float = 0.0


@dataclass(frozen=True)
class Example:
    """`voxels` float16 (x, y, z); `has_finding` of each of `FINDINGS`; `places` bool (present findings, x/2, y/2, z/2).

    `places` are what a finding changed, in blocks of 2 x 2 x 2 voxels and in the order of `FINDINGS`; None where they
    were not wanted.
    """

    seed: int
    voxels: npt.NDArray[np.float16]
    has_finding: Mask
    places: Mask | None


def make_example(task: Task, preprocessing: Preprocessing, settings: PhantomSettings | None = None) -> Example:
    """Make the study of a seed, with the findings (and, unless given, the grid) that the seed draws; prepare it."""
    settings = settings or replace(draw_settings(task.seed), distractor_share=task.distractor_share)
    study = make_study(task.seed, draw_findings(task.seed, task.prevalence), settings)
    voxels = prepare(make_volume(study), preprocessing)[0, 0].numpy().astype(np.float16)
    present = {finding.name for finding in study.findings}
    has_finding = np.asarray([name in present for name in FINDINGS])
    places = locate_findings(study, settings, preprocessing) if task.is_located else None
    return Example(task.seed, voxels, has_finding, places)


def locate_findings(study: Study, settings: PhantomSettings, preprocessing: Preprocessing) -> Mask:
    """Return where each finding changed the study, (findings, x/2, y/2, z/2) in blocks of the input.

    The same seed without findings is the same patient under the same noise, so the difference is the findings'.
    """
    healthy = make_study(study.seed, (), settings)
    volume = make_volume(study)
    difference = replace(volume, hu=np.abs(volume.hu - make_volume(healthy).hu))
    changed = resample_region(difference, replace(preprocessing, window_hu=(0.0, 4000.0)))
    corner_mm = np.asarray(study.origin_lps_mm) + compute_input_corner(volume, preprocessing)
    places = np.zeros((len(study.findings), *changed.shape), bool)
    for place, finding in zip(places, sorted(study.findings, key=lambda each: FINDINGS.index(each.name)), strict=True):
        box = _find_box(finding, corner_mm, preprocessing)
        inside = changed[box]
        place[box] = (inside > _PLACE_SHARE * inside.max(initial=0)) & (inside > 0)
    blocks = places.reshape(len(places), *(part for size in changed.shape for part in (size // 2, 2)))
    return np.asarray(blocks.any(axis=(2, 4, 6)))


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
    return make_ahead(make, tasks, processes)


def compute_recipe_digest(preprocessing: Preprocessing) -> str:
    """Return a short digest of everything but the seed that an example depends on: the sources and the grid."""
    modules = (body_box, configuration, phantoms, preprocess)
    return digest_recipe(repr(preprocessing), __file__, *(module.__file__ for module in modules))


def _fetch_example(task: Task, preprocessing: Preprocessing, folder: Path) -> Example:
    path = folder / _name_file(task)
    if path.exists():
        return _read(task, path)
    example = make_example(task, preprocessing)
    places = np.zeros(0, bool) if example.places is None else example.places
    keep_arrays(
        path,
        {
            "voxels": example.voxels,
            "has_finding": example.has_finding,
            "places": np.packbits(places),
        },
    )
    return example


def _name_file(task: Task) -> str:
    look_alikes = f"-{task.distractor_share:g}" if task.distractor_share else ""
    return f"{task.seed}{look_alikes}{'-located' if task.is_located else ''}.npz"


def _read(task: Task, path: Path) -> Example:
    kept = np.load(path, allow_pickle=False)
    voxels, has_finding = kept["voxels"], kept["has_finding"]
    shape = (int(has_finding.sum()), *(size // 2 for size in voxels.shape))
    bits = np.unpackbits(kept["places"], count=int(np.prod(shape))) if task.is_located else None
    places = None if bits is None else bits.astype(bool).reshape(shape)
    return Example(task.seed, voxels, has_finding, places)


def _find_box(
    finding: PlacedFinding, corner_mm: npt.NDArray[np.float64], preprocessing: Preprocessing
) -> tuple[slice, slice, slice]:
    """Return the box of a finding in voxels of the input; x and y ascend with the volume's."""
    spacing = np.asarray(preprocessing.spacing_xyz_mm)
    centre, half = (
        (np.asarray(finding.centre_lps_mm) - corner_mm) / spacing,
        np.asarray(finding.extent_mm) / 2 / spacing,
    )
    low = np.clip(np.floor(centre - half), 0, preprocessing.roi_xyz).astype(int)
    high = np.clip(np.ceil(centre + half) + 1, 0, preprocessing.roi_xyz).astype(int)
    x, y, z = (slice(start, stop) for start, stop in zip(low.tolist(), high.tolist(), strict=True))
    return x, y, z
