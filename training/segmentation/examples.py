"""Phantoms with their organ labels, kept on disk by seed, and laid out as the network of the stage sees a study."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from phantom.study import PhantomSettings, make_study
from training import phantoms
from training.kept_files import keep_arrays
from training.phantoms import Prevalence, draw_findings, make_volume
from training.processes import make_ahead
from training.recipe import digest_recipe
from workers.segmentation.grid import NetworkGrid
from workers.volume import Geometry, Volume
from workers.volume.label_map import Labels


class Recipe(NamedTuple):
    """Everything but the seed that a study depends on, beside the sources."""

    settings: PhantomSettings
    prevalence: Prevalence


@dataclass(frozen=True)
class LabelledStudy:
    """A study as intake hands it on, with the organ label of each voxel, (z, y, x) on the volume's own grid."""

    seed: int
    volume: Volume
    labels: Labels


@dataclass(frozen=True)
class Example:
    """HU (int16) and labels at the network's spacing and in its axes: z up, y to the front, x to the right."""

    seed: int
    hu: npt.NDArray[np.int16]
    labels: Labels


def iterate_studies(seeds: range, recipe: Recipe, folder: Path, processes: int) -> Iterator[LabelledStudy]:
    """Yield the studies of the seeds in order, made ahead by other processes and kept in `folder`."""
    folder = folder / compute_recipe_digest(recipe)
    folder.mkdir(parents=True, exist_ok=True)
    return make_ahead(partial(_fetch_study, recipe=recipe, folder=folder), seeds, processes)


def iterate_examples(seeds: range, recipe: Recipe, folder: Path, processes: int) -> Iterator[Example]:
    """Yield the examples of the seeds in order."""
    return map(make_example, iterate_studies(seeds, recipe, folder, processes))


def make_labelled_study(seed: int, recipe: Recipe) -> LabelledStudy:
    """Make the study of a seed with the findings that the seed draws."""
    study = make_study(seed, draw_findings(seed, recipe.prevalence), recipe.settings)
    return LabelledStudy(seed, make_volume(study), study.labels)


def make_example(study: LabelledStudy) -> Example:
    """Lay a study out as the stage does: HU linearly, labels by the nearest voxel of the same places."""
    coarse = NetworkGrid(study.volume.geometry).coarsen(study.volume.hu)
    canonical = study.labels[:, ::-1, ::-1]  # from left and back (LPS) to right and front
    # SciPy's zoom takes no more of the factor than the shape that it gives, so the places are those of the HU.
    labels = ndimage.zoom(canonical, np.asarray(coarse.shape) / np.asarray(canonical.shape), order=0, mode="nearest")
    return Example(study.seed, coarse.astype(np.int16), labels)


def compute_recipe_digest(recipe: Recipe) -> str:
    """Return a short digest of everything but the seed that a study depends on."""
    return digest_recipe(repr(recipe), phantoms.__file__)


def _fetch_study(seed: int, recipe: Recipe, folder: Path) -> LabelledStudy:
    path = folder / f"{seed}.npz"
    if path.exists():
        return _read(seed, path)
    study = make_labelled_study(seed, recipe)
    geometry = json.dumps(study.volume.geometry.to_document())
    keep_arrays(
        path,
        {
            "hu": study.volume.hu,
            "labels": study.labels,
            "geometry": geometry,
        },
    )
    return study


def _read(seed: int, path: Path) -> LabelledStudy:
    kept = np.load(path, allow_pickle=False)
    geometry = Geometry.from_document(json.loads(str(kept["geometry"])))
    return LabelledStudy(seed, Volume(kept["hu"], geometry, {}), kept["labels"])
