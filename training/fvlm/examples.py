"""Training examples for fVLM: a phantom by its seed, the organs in it, and where its findings lie.

They are kept as the scanner's grid has them, and prepared when they are read, by the code that prepares a patient's
study: the same studies serve any preprocessing. Every example is a function of its seed alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from phantom.study import FINDINGS, PhantomSettings, PlacedFinding, Study, make_study
from training import phantoms
from training.ct_clip_examples import order_findings
from training.examples import Task, draw_settings
from training.kept_files import keep_arrays
from training.phantoms import draw_findings, make_volume
from training.processes import make_ahead
from training.recipe import digest_recipe
from workers.volume import Geometry, Volume

Mask = npt.NDArray[np.bool_]

_PLACE_SHARE = 0.25
"""A voxel belongs to a finding when it changed by this share of what changed most."""


@dataclass(frozen=True)
class Example:
    """A study and its `labels` uint8 (TotalSegmentator's numbers), with the names of its findings.

    `places` bool (findings, z, y, x) are what each finding changed; None where they were not wanted.
    """

    seed: int
    volume: Volume
    labels: npt.NDArray[np.uint8]
    findings: tuple[str, ...]
    places: Mask | None


def iterate_examples(tasks: Sequence[Task], folder: Path, processes: int) -> Iterator[Example]:
    """Yield the examples of the tasks in order, made ahead by other processes and kept in `folder`."""
    folder = folder / compute_recipe_digest()
    folder.mkdir(parents=True, exist_ok=True)
    for task, _ in zip(tasks, make_ahead(partial(_ensure_example, folder=folder), tasks, processes), strict=True):
        yield _read(task, folder)


def make_example(task: Task, settings: PhantomSettings | None = None) -> Example:
    """Make the study of a seed, with the findings (and, unless given, the grid) that the seed draws."""
    settings = settings or draw_settings(task.seed)
    study = make_study(task.seed, draw_findings(task.seed, task.prevalence), settings)
    placed = order_findings(study)
    places = locate_findings(study, settings) if task.is_located else None
    return Example(task.seed, make_volume(study), study.labels, tuple(each.name for each in placed), places)


def locate_findings(study: Study, settings: PhantomSettings) -> Mask:
    """Return where each finding changed the study, (findings, z, y, x), in the order of `FINDINGS`.

    The same seed without findings is the same patient under the same noise, so the difference is the findings'.
    """
    volume = make_volume(study)
    changed = np.abs(volume.hu.astype(np.int32) - make_volume(make_study(study.seed, (), settings)).hu)
    findings = order_findings(study)
    places = np.zeros((len(findings), *changed.shape), bool)
    for place, finding in zip(places, findings, strict=True):
        box = _find_box(finding, volume)
        inside = changed[box]
        place[box] = (inside > _PLACE_SHARE * inside.max(initial=0)) & (inside > 0)
    return places


def compute_recipe_digest() -> str:
    """Return a short digest of everything but the seed that an example depends on: the sources."""
    return digest_recipe("", __file__, phantoms.__file__)


def _find_box(finding: PlacedFinding, volume: Volume) -> tuple[slice, slice, slice]:
    """Return the box of a finding in voxels (z, y, x)."""
    geometry, box = volume.geometry, []
    for axis in (2, 1, 0):
        step, size = geometry.spacing_zyx_mm[2 - axis], volume.hu.shape[2 - axis]
        centre = (finding.centre_lps_mm[axis] - geometry.origin_lps_mm[axis]) / step
        half = finding.extent_mm[axis] / 2 / step
        low, high = np.clip([np.floor(centre - half), np.ceil(centre + half) + 1], 0, size)
        box.append(slice(int(low), int(high)))
    z, y, x = box
    return z, y, x


def _ensure_example(task: Task, folder: Path) -> None:
    path = _name_file(task, folder)
    if path.exists():
        return
    example = make_example(task)
    geometry = example.volume.geometry
    keep_arrays(
        path,
        {
            "hu": example.volume.hu,
            "labels": example.labels,
            "geometry": np.asarray([*astuple(geometry)]),
            "has_finding": np.asarray([name in example.findings for name in FINDINGS]),
            "places": np.packbits(np.zeros(0, bool) if example.places is None else example.places),
        },
    )


def _read(task: Task, folder: Path) -> Example:
    kept = np.load(_name_file(task, folder), allow_pickle=False)
    hu, names = kept["hu"], [name for name, has in zip(FINDINGS, kept["has_finding"], strict=True) if has]
    spacing, origin, x, y = ((row[0], row[1], row[2]) for row in kept["geometry"].tolist())
    shape = (len(names), *hu.shape)
    bits = np.unpackbits(kept["places"], count=int(np.prod(shape))) if task.is_located else None
    places = None if bits is None else bits.astype(bool).reshape(shape)
    return Example(task.seed, Volume(hu, Geometry(spacing, origin, x, y)), kept["labels"], tuple(names), places)


def _name_file(task: Task, folder: Path) -> Path:
    return folder / f"{task.seed}{'-located' if task.is_located else ''}.npz"
