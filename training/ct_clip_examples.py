"""Examples for CT-CLIP and the supervised model: a phantom by its seed, prepared exactly as the stages prepare one.

Every example is a function of its seed alone, so it can be made by any process, kept on disk, and made again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from phantom.study import FINDINGS, PhantomSettings, PlacedFinding, Study, make_study
from training import phantoms
from training.examples import Task, draw_settings
from training.kept_files import keep_arrays
from training.phantoms import draw_findings, make_volume
from training.processes import make_ahead
from training.recipe import digest_recipe
from workers.ct_clip import preprocess
from workers.ct_clip.configuration import Preprocessing
from workers.ct_clip.preprocess import plan_lengths, prepare
from workers.volume import Volume

Mask = npt.NDArray[np.bool_]

BLOCK = 2
"""Edge of the blocks of voxels in which the places of findings are told."""

_PLACE_SHARE = 0.25
"""A voxel belongs to a finding when it changed by this share of what changed most."""

_UNCHANGED_HU = -1000
"""Where no difference is put, so that the preprocessing, which clips there, keeps differences up to 2000 HU."""


@dataclass(frozen=True)
class Example:
    """`voxels` float16 (slice, x, y) in [-1, 1]; the findings that are there, in the order of `FINDINGS`; their places.

    `places` bool (findings, slice/2, x/2, y/2) are what each finding changed, in blocks of 2 x 2 x 2 voxels; None where
    they were not wanted.
    """

    seed: int
    voxels: npt.NDArray[np.float16]
    findings: tuple[PlacedFinding, ...]
    places: Mask | None

    @property
    def has_finding(self) -> Mask:
        """Whether each of `FINDINGS` is there."""
        present = {finding.name for finding in self.findings}
        return np.asarray([name in present for name in FINDINGS])


def iterate_examples(
    tasks: Sequence[Task], preprocessing: Preprocessing, folder: Path, processes: int
) -> Iterator[Example]:
    """Yield the examples of the tasks in order, made ahead by other processes and kept in `folder`."""
    folder = folder / compute_recipe_digest(preprocessing)
    folder.mkdir(parents=True, exist_ok=True)
    return make_ahead(partial(_fetch_example, preprocessing=preprocessing, folder=folder), tasks, processes)


def make_example(task: Task, preprocessing: Preprocessing) -> Example:
    """Make the study of a seed, with the findings and the grid that the seed draws; prepare it."""
    settings = draw_settings(task.seed)
    study = make_study(task.seed, draw_findings(task.seed, task.prevalence), settings)
    voxels = prepare(make_volume(study), preprocessing)[0, 0].numpy().astype(np.float16)
    places = locate_findings(study, settings, preprocessing) if task.is_located else None
    return Example(task.seed, voxels, order_findings(study), places)


def order_findings(study: Study) -> tuple[PlacedFinding, ...]:
    """Return the findings of a study in the order of `FINDINGS`."""
    return tuple(sorted(study.findings, key=lambda finding: FINDINGS.index(finding.name)))


def locate_findings(study: Study, settings: PhantomSettings, preprocessing: Preprocessing) -> Mask:
    """Return where each finding changed the study, (findings, slice/2, x/2, y/2) in blocks of the input.

    The same seed without findings is the same patient under the same noise, so the difference is the findings'.
    """
    volume, healthy = make_volume(study), make_volume(make_study(study.seed, (), settings))
    difference = np.abs(volume.hu.astype(np.int32) - healthy.hu) + _UNCHANGED_HU
    clipped = replace(volume, hu=np.clip(difference, -1000, 1000).astype(np.int16))
    changed = np.asarray(prepare(clipped, preprocessing)[0, 0]) + 1  # differences in thousands of HU; padding is 0
    findings = order_findings(study)
    places = np.zeros((len(findings), *changed.shape), bool)
    for place, finding in zip(places, findings, strict=True):
        box = _find_box(finding, volume, preprocessing)
        inside = changed[box]
        place[box] = (inside > _PLACE_SHARE * inside.max(initial=0)) & (inside > 0)
    blocks = places.reshape(len(places), *(part for size in changed.shape for part in (size // BLOCK, BLOCK)))
    return np.asarray(blocks.any(axis=(2, 4, 6)))


def compute_recipe_digest(preprocessing: Preprocessing) -> str:
    """Return a short digest of everything but the seed that an example depends on: the sources and the grid."""
    return digest_recipe(repr(preprocessing), __file__, phantoms.__file__, preprocess.__file__)


def _find_box(finding: PlacedFinding, volume: Volume, preprocessing: Preprocessing) -> tuple[slice, slice, slice]:
    """Return the box of a finding in voxels (slice, x, y) of the input, whose axes ascend with the volume's."""
    geometry = volume.geometry
    order = (2, 0, 1)  # (x, y, z) as the input has them
    counts = [volume.hu.shape[::-1][axis] for axis in order]
    spacing = [geometry.spacing_zyx_mm[::-1][axis] for axis in order]
    lengths = plan_lengths(tuple(counts), (spacing[0], spacing[1], spacing[2]), preprocessing)
    box = []
    for axis, count, step, length, size in zip(order, counts, spacing, lengths, preprocessing.shape, strict=True):
        edge_mm = geometry.origin_lps_mm[axis] - step / 2
        resampled_mm = count * step / length
        moved = max(0, (size - length) // 2) - max(0, (length - size) // 2)  # padded or cropped
        half_mm = finding.extent_mm[axis] / 2
        low, high = (
            (finding.centre_lps_mm[axis] + sign * half_mm - edge_mm) / resampled_mm + moved for sign in (-1, 1)
        )
        box.append(slice(int(np.clip(np.floor(low - 0.5), 0, size)), int(np.clip(np.ceil(high + 0.5), 0, size))))
    slices, x, y = box
    return slices, x, y


def _fetch_example(task: Task, preprocessing: Preprocessing, folder: Path) -> Example:
    path = folder / f"{task.seed}{'-located' if task.is_located else ''}.npz"
    if path.exists():
        return _read(task, path)
    example = make_example(task, preprocessing)
    places = np.zeros(0, bool) if example.places is None else example.places
    keep_arrays(
        path,
        {
            "voxels": example.voxels,
            "has_finding": example.has_finding,
            "findings": np.asarray([[*f.centre_lps_mm, *f.extent_mm, f.severity] for f in example.findings]),
            "places": np.packbits(places),
        },
    )
    return example


def _read(task: Task, path: Path) -> Example:
    kept = np.load(path, allow_pickle=False)
    voxels = kept["voxels"]
    names = [name for name, has in zip(FINDINGS, kept["has_finding"], strict=True) if has]
    rows = kept["findings"].reshape(len(names), 7).tolist()
    findings = tuple(
        PlacedFinding(name, (row[0], row[1], row[2]), (row[3], row[4], row[5]), row[6])
        for name, row in zip(names, rows, strict=True)
    )
    shape = (len(names), *(size // BLOCK for size in voxels.shape))
    bits = np.unpackbits(kept["places"], count=int(np.prod(shape))) if task.is_located else None
    return Example(task.seed, voxels, findings, None if bits is None else bits.astype(bool).reshape(shape))
